"""Write the reliability section and its plots from the recorded figures."""

import sys

from chaos.report.pages import main

sys.exit(main())
