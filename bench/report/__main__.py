"""Write the report's pages and plots from the recorded figures."""

import sys

from bench.report.pages import main

sys.exit(main())
