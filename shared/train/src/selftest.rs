//! `--selftest`: does the backward pass give the slope of the forward pass, on the user's own model and rows?
//!
//! The loss's derivatives by log-probability and entropy, taken once, make a linear function L of what the network says; its gradient is
//! the one that training would use, stop-gradients included. For a parameter w with gradient g the slope of L along g/|g| is |g|:
//! it is measured as (L(w + h g/|g|) − L(w − h g/|g|)) / 2h, in f32 with sums in f64, and should agree to a percent. A step that is
//! too small drowns in rounding: several h are tried and the best one counts, for a wrong gradient agrees at none. A step that
//! sends a token to another expert jumps, and measures nothing: then the slope is taken on the other side alone.

use anyhow::{Result, bail};
use r1_model::network::Recompute;

use crate::optimizer::has_gradient;
use crate::update::{Row, RowLoss, Trainer, pack};

/// A measured slope within this of the computed one agrees.
const AGREES: f64 = 0.02;
/// Steps, as shares of the parameter's norm.
const STEPS: [f64; 7] = [3e-3, 1e-3, 1e-2, 3e-4, 3e-2, 1e-4, 3e-5];
/// Tokens that are computed: enough to reach every kind of operation, few enough for every tensor to be moved.
const TOKENS: usize = 256;

/// One parameter, moved along its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Slope {
    /// name on disk; of the first one where several are stacked
    pub name: String,
    /// what the backward pass says
    pub computed: f64,
    /// what the forward pass says
    pub measured: f64,
}

impl Slope {
    /// |measured − computed| / computed.
    pub fn off(&self) -> f64 {
        (self.measured - self.computed).abs() / self.computed
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// rows and tokens that were computed
    pub rows: usize,
    /// completion tokens of these rows
    pub tokens: usize,
    /// parameters whose slope was measured
    pub slopes: Vec<Slope>,
    /// parameters with a gradient
    pub reached: usize,
    /// parameters that should have one and have none: experts that no token chose aside
    pub unreached: Vec<String>,
    /// experts that no token of these rows chose
    pub idle_experts: usize,
}

/// The first rows with a gradient, up to the number of tokens that is tested (one at least).
pub fn chosen<'a>(rows: &[Row<'a>]) -> Vec<(usize, Row<'a>)> {
    let mut tokens = 0;
    let with_gradient = rows.iter().enumerate().filter(|(_, r)| r.gradient && !r.completion.is_empty());
    with_gradient
        .take_while(|(_, row)| {
            let first = tokens == 0;
            tokens += row.prompt.len() + row.completion.len();
            first || tokens <= TOKENS
        })
        .map(|(i, row)| (i, *row))
        .collect()
}

/// What the loss's derivatives make of what the network says.
struct Linear {
    dlogprob: Vec<Vec<f32>>,
    dentropy: Vec<Vec<f32>>,
}

/// L, and how many tokens each expert of each layer got.
#[derive(PartialEq)]
struct Value {
    total: f64,
    load: Vec<(usize, Vec<u32>)>,
}

impl Linear {
    fn value(&self, trainer: &Trainer, rows: &[Row]) -> Result<Value> {
        let all: Vec<usize> = (0..rows.len()).collect();
        let (packed, inv_temperature) = pack(rows, &all);
        let (output, tape) = trainer.policy.forward(&packed, &inv_temperature, true, Recompute::Layers)?;
        let sum = |a: &[Vec<f32>], b: &[f32]| -> f64 {
            a.iter().flatten().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let total = sum(&self.dlogprob, &output.logprobs) + sum(&self.dentropy, &output.entropy);
        if !total.is_finite() {
            bail!("selftest: what the policy says of these rows is not finite");
        }
        Ok(Value { total, load: tape.expert_load })
    }
}

/// Measures. The trainer's policy should compute in f32 and is left as it was; `loss` is that of an update on these `rows`.
///
/// # Errors
/// No row has a gradient, or something is not finite.
pub fn measure(trainer: &mut Trainer, rows: &[Row], loss: &mut RowLoss) -> Result<Findings> {
    if rows.is_empty() {
        bail!("no row has a gradient: there is no slope to measure");
    }
    let mut linear =
        Linear { dlogprob: vec![Vec::new(); rows.len()], dentropy: vec![Vec::new(); rows.len()] };
    trainer.accumulate_with_entropy(rows, true, &mut |i, scored, d, dentropy| {
        loss(i, scored, d, dentropy);
        linear.dlogprob[i] = d.to_vec();
        linear.dentropy[i] = dentropy.to_vec();
    })?;
    let gradients = trainer.gradients().to_host()?;
    let mut findings = Findings { rows: rows.len(), ..Findings::default() };
    findings.tokens = rows.iter().map(|r| r.completion.len()).sum();
    let norms: Vec<f64> = gradients.iter().map(|g| r1_kernels::norm::sum_of_squares(g).sqrt()).collect();
    let layers = trainer.policy.config.layers;
    let mut moved = Vec::new();
    let mut progress = r1_cli::Progress::new("tensors", None);
    for (i, parameter) in trainer.policy.parameters().iter().enumerate() {
        let name = parameter.pieces[0].name.clone();
        if !has_gradient(parameter) {
            continue;
        }
        if norms[i] > 0.0 {
            findings.reached += 1;
            // Layers are alike: the first, the middle and the last one stand for all.
            let layer =
                name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
            if layer.is_none_or(|layer: usize| [0, layers / 2, layers - 1].contains(&layer)) {
                moved.push((i, name));
            }
        } else if name.contains(".experts.") {
            findings.idle_experts += 1;
        } else {
            findings.unreached.push(name);
        }
    }
    // Experts are many and small: each one stacks two tensors.
    findings.idle_experts /= 2;
    for (i, name) in moved {
        let slope = slope(trainer, rows, &linear, i, &gradients[i], norms[i])?;
        progress.message(&name);
        findings.slopes.push(Slope { name, computed: norms[i], measured: slope });
    }
    progress.finish();
    Ok(findings)
}

/// The slope of L along a parameter's own gradient: of several steps' the one that is nearest to its norm.
fn slope(
    trainer: &mut Trainer,
    rows: &[Row],
    linear: &Linear,
    at: usize,
    gradient: &[f32],
    norm: f64,
) -> Result<f64> {
    let own = trainer.policy.values(at)?.into_owned();
    let length = r1_kernels::norm::sum_of_squares(&own).sqrt() + 0.01 * (own.len() as f64).sqrt();
    let here = linear.value(trainer, rows)?;
    let mut best = f64::INFINITY;
    for share in STEPS {
        let h = share * length;
        let mut sides = [0.0; 2];
        let mut smooth = [false; 2];
        for (side, sign) in [1.0, -1.0].into_iter().enumerate() {
            let moved: Vec<f32> = own
                .iter()
                .zip(gradient)
                .map(|(old, g)| (f64::from(*old) + sign * h * f64::from(*g) / norm) as f32)
                .collect();
            trainer.policy.set_values(at, &moved)?;
            let there = linear.value(trainer, rows)?;
            sides[side] = sign * (there.total - here.total) / h;
            smooth[side] = there.load == here.load;
        }
        let measured = match smooth {
            [true, false] => sides[0],
            [false, true] => sides[1],
            // Both jump only where the step is far too large; a smaller one is tried after it.
            _ => 0.5 * (sides[0] + sides[1]),
        };
        if (measured - norm).abs() < (best - norm).abs() {
            best = measured;
        }
        if (best - norm).abs() <= 0.5 * AGREES * norm {
            break;
        }
    }
    trainer.policy.set_values(at, &own)?;
    Ok(best)
}

impl Findings {
    /// Whether everything agrees.
    pub fn agree(&self) -> bool {
        self.unreached.is_empty() && self.slopes.iter().all(|slope| slope.off() <= AGREES)
    }

    /// For a person: one line for coverage, one for the worst slope of each kind of tensor.
    pub fn words(&self) -> Vec<String> {
        let idle = match self.idle_experts {
            0 => String::new(),
            n => format!("; no token of these rows chose {n} of the experts, which have none"),
        };
        let mut lines = vec![format!(
            "{} rows, {} completion tokens, in f32; gradient coverage: {} parameters have one{idle}",
            self.rows, self.tokens, self.reached
        )];
        lines.extend(self.unreached.iter().map(|name| format!("NO GRADIENT  {name}")));
        let mut kinds: Vec<(String, &Slope)> = Vec::new();
        for slope in &self.slopes {
            let kind: Vec<&str> =
                slope.name.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
            let kind = kind.join(".").replace("model.layers.", "");
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, worst)) if slope.off() > worst.off() => *worst = slope,
                Some(_) => {}
                None => kinds.push((kind, slope)),
            }
        }
        for (kind, worst) in kinds {
            let verdict = if worst.off() <= AGREES { "agrees" } else { "DIFFERS" };
            lines.push(format!(
                "{verdict:<8} {kind:<44} slope {:.5e}, measured {:.5e}, {:.2} % apart at most",
                worst.computed,
                worst.measured,
                100.0 * worst.off()
            ));
        }
        lines
    }

    /// Exit 1 where something differs.
    ///
    /// # Errors
    /// Naming the first one.
    pub fn settle(&self) -> Result<()> {
        if let Some(name) = self.unreached.first() {
            bail!("selftest: {name} has no gradient; this model's backward pass is not to be trusted");
        }
        match self.slopes.iter().find(|slope| slope.off() > AGREES) {
            Some(slope) => bail!(
                "selftest: {} has a gradient of {:.5e}, the loss rises by {:.5e}; this model's backward pass is not to be trusted",
                slope.name,
                slope.computed,
                slope.measured
            ),
            None => Ok(()),
        }
    }
}
