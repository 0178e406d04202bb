//! The two losses, with their derivatives, in f64.
//!
//! - a pair: −log σ(c − r − m) + w · (c + r)², Bradley and Terry's model of who wins, with a margin m and a weight w that keeps
//!   scores near 0 (TRL's RewardTrainer: `margin`, `center_rewards_coefficient`);
//! - a label: −log σ(s) where it is true, −log σ(−s) where it is false.
//!
//! A batch's loss is the mean over its pairs and labels.

/// log(1 + eˣ), without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// 1 / (1 + e⁻ˣ), exact in both tails.
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// Loss of a pair, and its derivatives with respect to both scores.
pub fn pair(chosen: f64, rejected: f64, margin: f64, center: f64) -> (f64, f64, f64) {
    let lead = chosen - rejected - margin;
    let (pull, sum) = (sigmoid(-lead), chosen + rejected);
    (softplus(-lead) + center * sum * sum, 2.0 * center * sum - pull, 2.0 * center * sum + pull)
}

/// Loss of a labelled completion, and its derivative with respect to the score.
pub fn label(score: f64, label: bool) -> (f64, f64) {
    if label { (softplus(-score), -sigmoid(-score)) } else { (softplus(score), sigmoid(score)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Golden {
        pairs: Vec<Pairs>,
        points: Vec<Points>,
    }

    #[derive(Deserialize)]
    struct Pairs {
        chosen: Vec<f64>,
        rejected: Vec<f64>,
        margins: Option<Vec<f64>>,
        centre: Option<f64>,
        loss: f64,
        dchosen: Vec<f64>,
        drejected: Vec<f64>,
    }

    #[derive(Deserialize)]
    struct Points {
        scores: Vec<f64>,
        labels: Vec<bool>,
        loss: f64,
        dscores: Vec<f64>,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../../../tests/golden/scores/loss.json")).unwrap()
    }

    #[track_caller]
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-8 * b.abs().max(1.0), "{a} {b}");
    }

    #[test]
    fn pairs_are_those_of_trl() {
        let cases = golden().pairs;
        assert!(cases.iter().any(|c| c.margins.is_some()) && cases.iter().any(|c| c.centre.is_some()));
        for case in cases {
            let n = case.chosen.len();
            let mut loss = 0.0;
            for i in 0..n {
                let margin = case.margins.as_ref().map_or(0.0, |m| m[i]);
                let (l, dc, dr) = pair(case.chosen[i], case.rejected[i], margin, case.centre.unwrap_or(0.0));
                loss += l / n as f64;
                close(dc / n as f64, case.dchosen[i]);
                close(dr / n as f64, case.drejected[i]);
            }
            close(loss, case.loss);
        }
    }

    #[test]
    fn labels_are_those_of_torch() {
        for case in golden().points {
            let n = case.scores.len() as f64;
            let mut loss = 0.0;
            for ((score, known), want) in case.scores.iter().zip(&case.labels).zip(&case.dscores) {
                let (l, d) = label(*score, *known);
                loss += l / n;
                close(d / n, *want);
            }
            close(loss, case.loss);
        }
    }

    #[test]
    fn derivatives_agree_with_differences() {
        let h = 1e-5;
        for (c, r) in [(0.3, -0.2), (-2.0, 1.5), (4.0, 4.0), (-7.0, -7.5)] {
            for (m, w) in [(0.0, 0.0), (0.7, 0.0), (0.0, 0.01), (1.3, 0.2)] {
                let (_, dc, dr) = pair(c, r, m, w);
                close((pair(c + h, r, m, w).0 - pair(c - h, r, m, w).0) / (2.0 * h), dc);
                close((pair(c, r + h, m, w).0 - pair(c, r - h, m, w).0) / (2.0 * h), dr);
            }
            for known in [true, false] {
                close((label(c + h, known).0 - label(c - h, known).0) / (2.0 * h), label(c, known).1);
            }
        }
        // Far out nothing overflows.
        for x in [-1e4, 1e4] {
            let (l, a, b) = pair(x, -x, 0.0, 0.0);
            assert!(l.is_finite() && a.is_finite() && b.is_finite() && label(x, true).0.is_finite());
        }
    }
}
