"""The pure rules about the ISR and the high watermark."""

from hypothesis import given
from hypothesis import strategies as st

from broker.replication.isr import CommittedIsr, PendingExpand, PendingShrink, advanced_high_watermark, may_join

offsets = st.integers(0, 1000)


@given(offsets, st.lists(offsets, min_size=1, max_size=5), st.integers(1, 5), st.integers(1, 5))
def test_the_high_watermark_never_falls_nor_passes_a_member_of_the_maximal_isr(
    current: int, end_offsets: list[int], isr_size: int, min_isr: int
) -> None:
    new = advanced_high_watermark(current, end_offsets, isr_size, min_isr)
    assert new >= current
    assert new == current or (new <= min(end_offsets) and isr_size >= min_isr)


def test_the_high_watermark_stands_still_below_min_insync_replicas() -> None:
    """KIP-966: what a single survivor appended is not exposed."""
    assert advanced_high_watermark(5, [9], isr_size=1, min_isr=2) == 5
    assert advanced_high_watermark(5, [9, 8], isr_size=2, min_isr=2) == 8


def test_a_pending_change_counts_whoever_might_be_in_the_isr() -> None:
    committed = CommittedIsr(isr=(1, 3), partition_epoch=7)
    assert PendingExpand(committed=committed, joining=2).maximal == (1, 2, 3)
    assert PendingExpand(committed=committed, joining=2).isr == (1, 3)
    shrink = PendingShrink(committed=committed, leaving=(3,))
    assert (shrink.maximal, shrink.proposed) == ((1, 3), (1,))


def test_a_follower_joins_only_with_everything_of_earlier_epochs() -> None:
    """KIP-497: right after an election the high watermark may lag behind what was committed."""
    assert not may_join(10, high_watermark=10, epoch_start_offset=12)
    assert may_join(12, high_watermark=10, epoch_start_offset=12)
    assert not may_join(11, high_watermark=12, epoch_start_offset=3)
