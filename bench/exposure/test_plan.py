"""A cover of a window must be the window: nothing twice, nothing left out, and no more than it needs."""

import random
import unittest

import plan
from interchange import DAY, HOUR


class Cover(unittest.TestCase):
    def test_ranges_of_a_cover_join_into_the_window(self):
        rng = random.Random(1)
        for _ in range(2_000):
            step = rng.choice([1, HOUR, DAY, 7 * DAY, 30 * DAY])
            begin = 20_500 * DAY + rng.randrange(200 * DAY) // step * step
            end = begin + rng.randrange(1, 120 * DAY)
            ranges = plan.cover(begin, end, plan.LEVELS)
            spans = sorted(
                (first * plan.LEVELS.get(level, 1), last * plan.LEVELS.get(level, 1)) for level, found in ranges.items() for first, last in found
            )
            self.assertEqual((spans[0][0], spans[-1][1]), (begin, end))
            self.assertTrue(all(left[1] == right[0] for left, right in zip(spans, spans[1:])), (begin, end, spans))

    def test_an_aligned_window_is_one_bucket(self):
        filled = {level: found for level, found in plan.cover(20_580 * DAY, 20_610 * DAY, plan.LEVELS).items() if found}
        self.assertEqual(filled, {"month": [(686, 687)]})

    def test_raw_rows_are_less_than_an_hour_at_each_end(self):
        ranges = plan.cover(20_580 * DAY + 1, 20_640 * DAY - 1, plan.LEVELS)
        self.assertTrue(all(end - begin < HOUR for begin, end in ranges["raw"]), ranges["raw"])
        self.assertEqual(len(ranges["raw"]), 2)


if __name__ == "__main__":
    unittest.main()
