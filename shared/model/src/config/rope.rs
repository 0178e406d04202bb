//! Inverse frequencies of rotary embedding, with the scalings that published checkpoints use.
//!
//! All angles are prepared in f64: `f_i = theta^(-2i/dim)` for `i` in `0..dim/2` (Su et al., RoFormer), then scaled.

use std::f64::consts::PI;

use anyhow::{Result, bail};
use r1_kernels::rope::Pairing;
use serde_json::Value;

use super::Rope;
use super::fields::{Fields, shown};

/// What a config says about positions.
pub(super) struct Positions {
    pub rope: Rope,
    /// factor on the scale of the scores: YaRN's `mscale(factor, mscale_all_dim)²` where MLA asks for it, else 1
    pub score_factor: f64,
}

/// Reads `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before), for a rotated size `dim`.
pub(super) fn read(top: Fields, dim: usize, max_positions: usize, pairing: Pairing) -> Result<Positions> {
    if dim == 0 || !dim.is_multiple_of(2) {
        bail!("the rotated size of a head is {dim}, it must be even and above 0");
    }
    let (name, section) = match (top.get("rope_parameters"), top.get("rope_scaling")) {
        (Some(p), _) => ("rope_parameters.", Some(p)),
        (None, s) => ("rope_scaling.", s),
    };
    let empty = Value::Object(Default::default());
    let fields = Fields::of(section.unwrap_or(&empty), name)?;
    let theta = match fields.number("rope_theta")? {
        Some(_) => fields.positive("rope_theta")?,
        None if top.get("rope_theta").is_some() => top.positive("rope_theta")?,
        // The value of the original paper, and every family's when config.json is silent.
        None => 10_000.0,
    };
    if theta <= 1.0 {
        bail!("rope_theta: must be above 1, found {theta}");
    }
    for holder in [top, fields] {
        if let Some(p) = holder.number("partial_rotary_factor")?.filter(|p| *p != 1.0) {
            bail!("{}: {p} is not supported, only 1", holder.name("partial_rotary_factor"));
        }
    }
    let kind = match (fields.text("rope_type")?, fields.text("type")?) {
        (Some(a), Some(b)) if a != b => bail!("{name}rope_type is {a:?} but {name}type is {b:?}"),
        (Some(kind), _) | (None, Some(kind)) => kind,
        (None, None) if section.is_none_or(|s| s.get("factor").is_none()) => "default",
        (None, None) => bail!("{name}rope_type: the field is missing"),
    };

    let plain: Vec<f64> = (0..dim / 2).map(|i| theta.powf(-2.0 * i as f64 / dim as f64)).collect();
    let mut rope = Rope { dim, inv_freq: plain, attention_factor: 1.0, pairing };
    let mut score_factor = 1.0;
    match kind {
        "default" => {}
        "linear" => {
            let factor = fields.positive("factor")?;
            rope.inv_freq.iter_mut().for_each(|f| *f /= factor);
        }
        "llama3" => llama3(&mut rope.inv_freq, fields)?,
        "yarn" => score_factor = yarn(&mut rope, theta, fields, max_positions)?,
        other => bail!(
            "{name}rope_type: {} is not supported, only default, linear, llama3 and yarn",
            shown(&Value::from(other))
        ),
    }
    Ok(Positions { rope, score_factor })
}

/// Llama 3.1's scaling: short waves stay, long ones are slowed by `factor`, those between are blended.
fn llama3(inv_freq: &mut [f64], fields: Fields) -> Result<()> {
    let factor = fields.positive("factor")?;
    let low = fields.positive("low_freq_factor")?;
    let high = fields.positive("high_freq_factor")?;
    let original = fields.positive("original_max_position_embeddings")?;
    if high <= low {
        bail!("{}: must be above low_freq_factor, found {high}", fields.name("high_freq_factor"));
    }
    for f in inv_freq {
        let wave = 2.0 * PI / *f;
        if wave > original / low {
            *f /= factor;
        } else if wave >= original / high {
            let smooth = (original / wave - low) / (high - low);
            *f = (1.0 - smooth) * *f / factor + smooth * *f;
        }
    }
    Ok(())
}

/// YaRN (Peng et al., 2023) as DeepSeek-V3 and transformers compute it. Returns the factor on the scores' scale.
fn yarn(rope: &mut Rope, theta: f64, fields: Fields, max_positions: usize) -> Result<f64> {
    let original = match fields.count("original_max_position_embeddings")? {
        Some(_) => fields.size("original_max_position_embeddings")?,
        None => max_positions,
    } as f64;
    let factor = match fields.number("factor")? {
        Some(_) => fields.positive("factor")?,
        None => max_positions as f64 / original,
    };
    let or = |name: &str, otherwise: f64| -> Result<f64> {
        Ok(fields.number(name)?.filter(|x| *x != 0.0).unwrap_or(otherwise))
    };
    let (beta_fast, beta_slow) = (or("beta_fast", 32.0)?, or("beta_slow", 1.0)?);
    let (mscale, mscale_all_dim) = (or("mscale", 0.0)?, or("mscale_all_dim", 0.0)?);
    if beta_fast <= 0.0 || beta_slow <= 0.0 {
        bail!("{}: beta_fast and beta_slow must be above 0", fields.name("beta_fast"));
    }

    // The dimension whose wave turns `rotations` times within the original context.
    let dim = rope.dim as f64;
    let turning = |rotations: f64| dim * (original / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (turning(beta_fast), turning(beta_slow));
    if fields.flag("truncate", true)? {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dim - 1.0));
    if low == high {
        high += 0.001;
    }
    for (i, f) in rope.inv_freq.iter_mut().enumerate() {
        let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
        *f = *f / factor * ramp + *f * (1.0 - ramp);
    }

    rope.attention_factor = match fields.number("attention_factor")? {
        Some(_) => fields.positive("attention_factor")?,
        None if mscale != 0.0 && mscale_all_dim != 0.0 => {
            magnitude(factor, mscale) / magnitude(factor, mscale_all_dim)
        }
        None => magnitude(factor, 1.0),
    };
    Ok(if mscale_all_dim == 0.0 { 1.0 } else { magnitude(factor, mscale_all_dim).powi(2) })
}

/// YaRN's `mscale`: `0.1 m ln(s) + 1` for `s > 1`.
fn magnitude(scale: f64, m: f64) -> f64 {
    if scale <= 1.0 { 1.0 } else { 0.1 * m * scale.ln() + 1.0 }
}
