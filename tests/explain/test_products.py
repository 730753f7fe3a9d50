"""Evidence for sums of products: the loop for processors against the definition."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cofire.explain.rules.attention import _Factors, _shares_by_definition, _shares_on_cpu
from cofire.explain.rules.flow import Flow

NUMBERS = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, torch.nan, torch.inf, -torch.inf])


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([torch.float32, torch.float64, torch.float16]), st.booleans())
def test_the_loop_shares_products_as_the_definition_does(data, dtype, same_for_all):
    neurons, width, places = 3, data.draw(st.integers(1, 4)), 6

    def values(images):
        row = st.lists(NUMBERS, min_size=places, max_size=places)
        return torch.tensor([data.draw(row) for _ in range(images)], dtype=dtype)

    image = torch.tensor([0, 0, 1])
    flow = Flow(
        image,
        torch.arange(neurons),
        torch.tensor(data.draw(st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3))).to(
            torch.int8
        ),
        torch.ones(neurons, dtype=torch.float64),
        torch.arange(neurons),
    )
    base, further = torch.tensor([0, 1, 2]), torch.arange(width)
    pair = (
        _Factors(values(2), base, further),
        _Factors(values(1 if same_for_all else 2), torch.zeros((), dtype=torch.int64), further),
    )
    slow, fast = _shares_by_definition(flow, *pair), _shares_on_cpu(flow, *pair)
    for one, other in zip(slow[:2], fast[:2], strict=True):
        assert one.tolist() == other.tolist()
    torch.testing.assert_close(fast[2], slow[2], rtol=1e-12, atol=0)
    for factor, sign in zip(slow[3:], fast[3:], strict=True):
        assert factor.sign().tolist() == sign.tolist()
