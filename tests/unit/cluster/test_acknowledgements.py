from lib.cluster.acknowledgements import KEPT, AcknowledgementTimes
from lib.cluster.broker import Appended
from lib.cluster.stream_writer import StreamWriter
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers


def test_before_the_first_acknowledgement_nothing_is_known():
    assert AcknowledgementTimes().quantiles_ns(0.5, 0.99) == [None, None]


def test_a_quantile_is_the_time_that_this_share_took_at_most():
    times = AcknowledgementTimes()
    for took_ns in range(100, 0, -1):
        times.add(took_ns)
    assert times.quantiles_ns(0.0, 0.5, 0.99, 1.0) == [1, 50, 99, 100]


def test_only_the_latest_times_count():
    times = AcknowledgementTimes()
    for took_ns in [10**9] * KEPT + [7] * KEPT:
        times.add(took_ns)
    assert times.quantiles_ns(1.0) == [7]


def test_a_writer_counts_what_was_acknowledged_and_nothing_else():
    broker = ModelBroker(ModelBrokers(0, Faults()))
    writer = StreamWriter(broker, "TW_TEST", "a", "claimant")
    writer.claim(0, 0)
    [answer] = broker.answers
    assert isinstance(answer, Appended)
    writer.take(answer._replace(took_ns=3))
    writer.append({}, b"x")
    writer.take(broker.answers[-1]._replace(took_ns=5))
    assert writer.acknowledgements.quantiles_ns(0.5, 1.0) == [3, 5]
    broker.brokers.stream("TW_TEST").append({}, b"another's", 2)
    writer.append({}, b"y")
    writer.take(broker.answers[-1])
    assert writer.acknowledgements.quantiles_ns(1.0) == [5]
