//! Fewer points for a picture than a long run has steps: its highs and lows, or its means.

/// More points than this cannot be told apart in a chart as wide as a page.
pub const MOST: usize = 1000;

/// At most [`MOST`] of the points, in order: the first, the last, and of each stretch between them
/// the lowest and the highest. A stretch without a finite value keeps one point, so that the gap
/// stays a gap.
pub fn thin(points: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let [first, between @ .., last] = points else {
        return points.to_vec();
    };
    if points.len() <= MOST {
        return points.to_vec();
    }
    let mut kept = vec![*first];
    // Each stretch gives two points at most.
    for stretch in between.chunks(between.len().div_ceil((MOST - 2) / 2)) {
        let finite = || stretch.iter().filter(|(_, value)| value.is_finite());
        let low = finite().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = finite().max_by(|a, b| a.1.total_cmp(&b.1));
        match (low, high) {
            (Some(low), Some(high)) if low.0 == high.0 => kept.push(*low),
            (Some(low), Some(high)) if low.0 < high.0 => kept.extend([*low, *high]),
            (Some(low), Some(high)) => kept.extend([*high, *low]),
            _ => kept.push(stretch[0]),
        }
    }
    kept.push(*last);
    kept
}

/// The means of about a hundred stretches, each at its middle: where a series goes that jumps up
/// and down. Values that are not finite do not count.
pub fn means(points: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let mean = |stretch: &[(usize, f64)]| {
        let finite: Vec<f64> = stretch
            .iter()
            .map(|point| point.1)
            .filter(|value| value.is_finite())
            .collect();
        let sum: f64 = finite.iter().sum();
        (stretch[stretch.len() / 2].0, sum / finite.len() as f64)
    };
    points
        .chunks(points.len().div_ceil(100).max(1))
        .map(mean)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_series_stays_as_it_is() {
        for count in [0, 1, 2, MOST] {
            let points: Vec<_> = (1..=count).map(|step| (step, 1.0 / step as f64)).collect();
            assert_eq!(thin(&points), points);
        }
    }

    #[test]
    fn a_long_series_keeps_its_ends_and_every_spike() {
        for count in [MOST + 1, 1500, 1997, 100_000] {
            let mut points: Vec<_> = (1..=count).map(|step| (step, (step % 7) as f64)).collect();
            let spikes = [(3, 90.0), (count / 2, -50.0), (count - 1, 70.0)];
            for (step, value) in spikes {
                points[step - 1].1 = value;
            }
            let kept = thin(&points);
            assert!(kept.len() <= MOST, "{count}: {}", kept.len());
            assert!(kept.len() > MOST / 3, "{count}: {}", kept.len());
            assert!(kept.is_sorted_by(|a, b| a.0 < b.0), "{count}");
            assert_eq!(kept.first(), points.first());
            assert_eq!(kept.last(), points.last());
            for spike in spikes {
                assert!(kept.contains(&spike), "{count}: {spike:?}");
            }
            assert!(kept.iter().all(|point| points[point.0 - 1] == *point));
        }
    }

    #[test]
    fn means_follow_the_course() {
        let points: Vec<_> = (0..1000)
            .map(|step| (step, (step + 10 * (step % 2)) as f64))
            .collect();
        let course = means(&points);
        assert_eq!(course.len(), 100);
        assert_eq!(course[0], (5, 9.5));
        assert_eq!(course[99], (995, 999.5));
        assert_eq!(means(&[(1, 2.0), (2, f64::NAN)]).len(), 2);
        assert_eq!(means(&[]), []);
    }

    #[test]
    fn what_is_no_number_hides_nothing() {
        let mut points: Vec<_> = (1..=10_000).map(|step| (step, 1.0)).collect();
        points[5000].1 = f64::NAN;
        points[5001].1 = f64::INFINITY;
        points[5002].1 = 2.0;
        points[7000..8000].fill((7001, f64::NAN));
        let kept = thin(&points);
        assert!(kept.contains(&(5003, 2.0)));
        assert!(kept.iter().any(|(_, value)| value.is_nan()));
    }
}
