//! How far a judge can be trusted: does it give verdicts, does it agree with itself, does it favour what it is shown first.

use serde_json::{Map, Value};

/// The verdicts on one matter: numbers in favour of the first completion. Of a pair, `swapped` are those for which the first
/// completion was shown second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Votes {
    /// as asked
    pub straight: Vec<f64>,
    /// with the sides swapped, turned back
    pub swapped: Vec<f64>,
    /// replies without a verdict
    pub unreadable: usize,
}

impl Votes {
    /// Mean of all verdicts, each order counting the same so that a preference for a place cancels; none without verdict.
    pub fn mean(&self) -> Option<f64> {
        match (mean(&self.straight), mean(&self.swapped)) {
            (Some(a), Some(b)) => Some((a + b) / 2.0),
            (one, other) => one.or(other),
        }
    }
}

fn mean(list: &[f64]) -> Option<f64> {
    (!list.is_empty()).then(|| list.iter().sum::<f64>() / list.len() as f64)
}

/// Which side a number favours.
fn side(x: f64) -> i8 {
    i8::from(x > 0.0) - i8::from(x < 0.0)
}

/// A share of cases.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Share {
    hits: f64,
    of: f64,
}

impl Share {
    fn add(&mut self, hit: f64) {
        self.hits += hit;
        self.of += 1.0;
    }

    fn value(&self) -> Option<f64> {
        (self.of > 0.0).then(|| self.hits / self.of)
    }
}

/// Counts over a whole run.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    /// compares two completions
    pair: bool,
    replies: usize,
    readable: usize,
    /// matters with at least one verdict
    judged: usize,
    /// matters that were asked about
    matters: usize,
    /// matters that could not be asked about, and why
    unasked: Vec<(&'static str, usize)>,
    sum: f64,
    /// of two verdicts on one matter: the same (number of one completion, side of a pair)
    same: Share,
    /// of the verdicts that favour a side: the one shown first
    first: Share,
    /// of the matters with verdicts in both orders: both favour the same completion
    both_orders: Share,
    /// of pairs with a known better side (`chosen`): the judge's mean favours it; ½ where it favours neither
    chosen: Share,
}

impl Agreement {
    /// Nothing counted yet.
    pub fn new(pair: bool) -> Agreement {
        Agreement { pair, ..Agreement::default() }
    }

    /// Counts something that was not asked about.
    pub fn unasked(&mut self, why: &'static str) {
        match self.unasked.iter_mut().find(|(known, _)| *known == why) {
            Some((_, count)) => *count += 1,
            None => self.unasked.push((why, 1)),
        }
    }

    /// Counts the verdicts on a matter; `known` says that the first completion is known to be the better one.
    pub fn add(&mut self, votes: &Votes, known: bool) {
        self.matters += 1;
        let all: Vec<f64> = votes.straight.iter().chain(&votes.swapped).copied().collect();
        self.readable += all.len();
        self.replies += all.len() + votes.unreadable;
        if let Some(mean) = votes.mean() {
            self.judged += 1;
            self.sum += mean;
            if known {
                self.chosen.add(f64::from(side(mean) + 1) / 2.0);
            }
        }
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                self.same.add(f64::from(if self.pair { side(*a) == side(*b) } else { a == b }));
            }
        }
        if !self.pair {
            return;
        }
        // A swapped verdict was turned back: there the other sign is what was shown first.
        for (list, shown_first) in [(&votes.straight, 1), (&votes.swapped, -1)] {
            for x in list.iter().filter(|x| **x != 0.0) {
                self.first.add(f64::from(side(*x) == shown_first));
            }
        }
        if let (Some(a), Some(b)) = (mean(&votes.straight), mean(&votes.swapped)) {
            self.both_orders.add(f64::from(side(a) == side(b)));
        }
    }

    /// The counts as one line of metrics; what was never met has no key.
    pub fn line(&self, name: &str) -> Map<String, Value> {
        let mut line = Map::new();
        line.insert("name".into(), name.into());
        for (key, count) in [
            ("asked", self.matters),
            ("judged", self.judged),
            ("replies", self.replies),
            ("unreadable", self.replies - self.readable),
        ] {
            line.insert(key.into(), count.into());
        }
        for (why, count) in &self.unasked {
            line.insert(format!("unasked/{}", why.replace(' ', "_")), (*count).into());
        }
        for (key, value) in [
            ("mean", (self.judged > 0).then(|| self.sum / self.judged as f64)),
            ("agreement", self.same.value()),
            ("first_preferred", self.first.value()),
            ("both_orders_agree", self.both_orders.value()),
            ("chosen_preferred", self.chosen.value()),
        ] {
            if let Some(value) = value {
                line.insert(key.into(), value.into());
            }
        }
        line
    }

    /// One line for a person.
    pub fn text(&self, name: &str) -> String {
        let percent = |words: &str, share: &Share| {
            share.value().map(|x| format!(", {words} {:.1} %", 100.0 * x)).unwrap_or_default()
        };
        let unasked: String =
            self.unasked.iter().map(|(why, count)| format!(", {count} not asked about: {why}")).collect();
        let mean = if self.judged > 0 { self.sum / self.judged as f64 } else { 0.0 };
        format!(
            "{name}: {} of {} judged (mean {mean:.3}), {} of {} replies unreadable{}{}{}{}{unasked}",
            self.judged,
            self.matters,
            self.replies - self.readable,
            self.replies,
            percent("verdicts agree", &self.same),
            percent("the first shown is preferred", &self.first),
            percent("both orders agree", &self.both_orders),
            percent("`chosen` is preferred", &self.chosen),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(straight: &[f64], swapped: &[f64], unreadable: usize) -> Votes {
        Votes { straight: straight.to_vec(), swapped: swapped.to_vec(), unreadable }
    }

    #[test]
    fn a_preference_for_a_place_cancels_and_is_told() {
        // Always the first shown, by one point.
        let place = votes(&[1.0, 1.0], &[-1.0, -1.0], 0);
        assert_eq!(place.mean(), Some(0.0));
        assert_eq!(votes(&[1.0, 1.0], &[-1.0], 1).mean(), Some(0.0), "an unreadable reply tips no balance");
        let mut count = Agreement::new(true);
        count.add(&place, true);
        let line = count.line("x");
        let of = |key: &str| line[key].as_f64().unwrap();
        assert_eq!((of("first_preferred"), of("both_orders_agree"), of("chosen_preferred")), (1.0, 0.0, 0.5));
        assert!((of("agreement") - 2.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn a_judge_that_means_it_agrees_with_itself() {
        let mut count = Agreement::new(true);
        count.add(&votes(&[2.0, 1.0], &[1.0, 2.0], 0), true);
        count.add(&votes(&[-1.0], &[-2.0], 2), true);
        count.add(&votes(&[], &[], 4), true);
        count.unasked("too long");
        count.unasked("too long");
        let line = count.line("x");
        let of = |key: &str| line[key].as_f64().unwrap();
        assert_eq!((of("agreement"), of("first_preferred"), of("both_orders_agree")), (1.0, 0.5, 1.0));
        assert_eq!((of("asked"), of("judged"), of("replies"), of("unreadable")), (3.0, 2.0, 12.0, 6.0));
        assert_eq!((of("chosen_preferred"), of("mean"), of("unasked/too_long")), (0.5, 0.0, 2.0));
        assert!(
            count.text("x").contains("2 of 3 judged")
                && count.text("x").contains("2 not asked about: too long")
        );
    }

    #[test]
    fn completions_alone_have_no_places() {
        let mut count = Agreement::new(false);
        count.add(&votes(&[1.0, 1.0, 0.0], &[], 0), false);
        let line = count.line("x");
        assert!(!line.contains_key("first_preferred") && !line.contains_key("chosen_preferred"));
        assert!((line["agreement"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert!(Agreement::new(true).line("x").get("mean").is_none());
    }
}
