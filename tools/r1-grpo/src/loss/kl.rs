//! The divergence from the reference, one estimate a token. With ρ = log π_ref − log π:
//!
//! | kind | value | d/d(log π) |
//! |---|---|---|
//! | k1 | −ρ | 1 |
//! | k2 | ρ² / 2 | −ρ |
//! | k3 | e^ρ − ρ − 1 | 1 − e^ρ |
//! | abs | abs(ρ) | −sign ρ |
//! | k1+ | −ρ | −ρ (that of k2, which is an unbiased gradient of the divergence) |
//! | k3+ | e^ρ − ρ − 1 | −ρ |
//! | unbiased | r · k3, r the ratio (DeepSeek-V3.2) | product rule |
//!
//! e^ρ is followed to ρ = 20 and goes on in a straight line: a reference that is sure of what the policy would never say gives a
//! large number and a finite pull, instead of an overflow (TRL) or of no pull at all (verl's clamps).

/// Which estimator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// log π − log π_ref
    K1,
    /// (log π − log π_ref)² / 2
    K2,
    /// exp(ρ) − ρ − 1 with ρ = log π_ref − log π (the paper's, TRL's)
    K3,
    /// |log π − log π_ref|
    Abs,
    /// the value of k1 with the gradient of k2
    #[value(name = "k1+")]
    #[serde(rename = "k1+")]
    K1Through,
    /// the value of k3 with the gradient of k2
    #[value(name = "k3+")]
    #[serde(rename = "k3+")]
    K3Through,
    /// k3 times the ratio (DeepSeek-V3.2, TRL's use_bias_correction_kl)
    Unbiased,
}

/// Beyond this ρ, e^ρ goes on in a straight line.
const EDGE: f64 = 20.0;

/// e^ρ − ρ − 1 and e^ρ − 1, both along the line beyond the edge.
fn k3(rho: f64) -> (f64, f64) {
    let slope = rho.min(EDGE).exp_m1();
    (slope - rho.min(EDGE) + (rho - EDGE).max(0.0) * slope, slope)
}

impl Kind {
    /// Value and d/d(log π), before the ratio of `unbiased`.
    pub fn of(self, logprob: f64, reference: f64) -> (f64, f64) {
        let rho = reference - logprob;
        match self {
            Kind::K1 => (-rho, 1.0),
            Kind::K2 => (0.5 * rho * rho, -rho),
            Kind::K3 | Kind::Unbiased => {
                let (value, slope) = k3(rho);
                (value, -slope)
            }
            Kind::Abs => (rho.abs(), if rho == 0.0 { 0.0 } else { -rho.signum() }),
            Kind::K1Through => (-rho, -rho),
            Kind::K3Through => (k3(rho).0, -rho),
        }
    }
}
