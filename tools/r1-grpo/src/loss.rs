//! The policy-gradient losses: plain host code, one number a token in, one number a token out.
//!
//! With l the log-probability now, l_old when the token was sampled, r = exp(l − l_old) and A the row's advantage, a token's
//! objective is
//! ```text
//! min( min(r, δ) A, clip(r, 1 − ε_low, 1 + ε_high) A ) − β k3,     k3 = exp(ρ) − ρ − 1,  ρ = l_ref − l
//! ```
//! (GRPO: DeepSeekMath eq. 3 and 4; ε_low, ε_high: DAPO eq. 8; δ: INTELLECT-2's two-sided clipping, TRL's `delta`). The loss is
//! minus its weighted sum over tokens, and the aggregation says how much a token weighs:
//! ```text
//! grpo     1 / (rows · |o_i|)         every sequence weighs the same     (DeepSeekMath)
//! dapo     1 / Σ_i |o_i|              every token weighs the same        (DAPO; over the whole optimizer batch)
//! dr_grpo  1 / (rows · L)             L = --generation-limit             (Dr. GRPO: no length bias)
//! ```
//! Rows with advantage 0 add nothing but count in `rows` and Σ|o_i|, as their tokens were paid for.

use r1_train::flags::{not_negative, positive};

/// How much a token weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
pub enum Aggregation {
    /// mean over sequences of the mean over their tokens (DeepSeekMath)
    #[value(name = "grpo")]
    #[serde(rename = "grpo")]
    SequenceMean,
    /// mean over all tokens of the batch (DAPO)
    #[value(name = "dapo")]
    #[serde(rename = "dapo")]
    TokenMean,
    /// sum over tokens, divided by rows times --generation-limit (Dr. GRPO)
    #[value(name = "dr_grpo")]
    #[serde(rename = "dr_grpo")]
    Constant,
}

/// The loss as the user asked for it.
#[derive(clap::Args, Clone, Debug)]
pub struct Loss {
    /// How much a token weighs
    #[arg(long = "loss", value_enum, default_value_t = Aggregation::TokenMean)]
    pub aggregation: Aggregation,
    /// ε_low: the ratio is clipped below 1 − ε_low
    #[arg(long, default_value_t = 0.2, value_name = "X", value_parser = not_negative)]
    pub clip_low: f64,
    /// ε_high: the ratio is clipped above 1 + ε_high (DAPO: 0.28; the paper's first RL stage: 10)
    #[arg(long, default_value_t = 0.2, value_name = "X", value_parser = not_negative)]
    pub clip_high: f64,
    /// δ: with a negative advantage the ratio counts as δ at most
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub delta: Option<f64>,
    /// β: weight of the KL divergence (k3) from the rows' `reference` (the paper: 0.001)
    #[arg(long, default_value_t = 0.0, value_name = "X", value_parser = not_negative)]
    pub kl_beta: f64,
    /// L of --loss dr_grpo: the most tokens that r1-rollout was allowed
    #[arg(long, value_name = "N", value_parser = positive)]
    pub generation_limit: Option<usize>,
}

/// What the weights of an optimizer batch are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// rows of the batch, those without any token included
    pub rows: usize,
    /// completion tokens of the batch that are not masked
    pub tokens: usize,
}

/// One token: its objective and the derivative, and what happened to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// what is maximised
    pub objective: f64,
    /// d(objective)/d(logprob)
    pub gradient: f64,
    /// r
    pub ratio: f64,
    /// k3; 0 without a reference
    pub kl: f64,
    /// the ratio fell below the lower clip with a negative advantage: no gradient
    pub clipped_low: bool,
    /// the ratio rose above the upper clip with a positive advantage: no gradient
    pub clipped_high: bool,
}

/// Sums over the tokens of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// the loss
    pub loss: f64,
    /// tokens
    pub tokens: u64,
    /// Σ r
    pub ratio: f64,
    /// largest r
    pub ratio_max: f64,
    /// Σ k3
    pub kl: f64,
    /// tokens clipped below
    pub clipped_low: u64,
    /// tokens clipped above
    pub clipped_high: u64,
}

impl Loss {
    /// Whether the flags make a loss.
    ///
    /// # Errors
    /// Exit 2 for dr_grpo without its constant.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.aggregation == Aggregation::Constant && self.generation_limit.is_none() {
            let remedy = "give the limit that r1-rollout had with --max-tokens";
            return Err(r1_cli::misuse("--loss dr_grpo needs --generation-limit", remedy));
        }
        Ok(())
    }

    /// Weight of every token of a row of `length` tokens.
    pub fn weight(&self, length: usize, totals: Totals) -> f64 {
        let rows = totals.rows.max(1) as f64;
        match self.aggregation {
            Aggregation::SequenceMean => 1.0 / (rows * length.max(1) as f64),
            Aggregation::TokenMean => 1.0 / totals.tokens.max(1) as f64,
            Aggregation::Constant => 1.0 / (rows * self.generation_limit.unwrap_or(1) as f64),
        }
    }

    /// One token.
    pub fn token(&self, advantage: f64, logprob: f64, old: f64, reference: Option<f64>) -> Token {
        let ratio = (logprob - old).exp();
        let (low, high) = (1.0 - self.clip_low, 1.0 + self.clip_high);
        let limit = self.delta.unwrap_or(f64::INFINITY);
        let free = ratio.min(limit) * advantage;
        let clipped = ratio.clamp(low, high) * advantage;
        // The smaller of the two counts; where both are equal the ratio is inside the clip and has its gradient.
        let moves = if free <= clipped { ratio < limit } else { (low..=high).contains(&ratio) };
        let mut objective = free.min(clipped);
        let mut gradient = if moves { ratio * advantage } else { 0.0 };
        let mut kl = 0.0;
        if let Some(reference) = reference {
            let rho = reference - logprob;
            kl = rho.exp_m1() - rho;
            objective -= self.kl_beta * kl;
            gradient += self.kl_beta * rho.exp_m1();
        }
        Token {
            objective,
            gradient,
            ratio,
            kl,
            clipped_low: ratio < low && advantage < 0.0,
            clipped_high: ratio > high && advantage > 0.0,
        }
    }

    /// One row: fills d(loss)/d(logprob) and adds to the sums.
    ///
    /// # Panics
    /// When the lists are not of one length: rows are checked where they are read.
    pub fn row<T: Copy + Into<f64>>(
        &self,
        advantage: f64,
        [logprobs, old]: [&[T]; 2],
        reference: Option<&[T]>,
        totals: Totals,
        dlogprobs: &mut [f32],
        sums: &mut Sums,
    ) {
        assert!(logprobs.len() == old.len() && logprobs.len() == dlogprobs.len(), "loss: lengths differ");
        let weight = self.weight(logprobs.len(), totals);
        for (t, d) in dlogprobs.iter_mut().enumerate() {
            let reference = reference.map(|r| r[t].into());
            let token = self.token(advantage, logprobs[t].into(), old[t].into(), reference);
            *d = (-weight * token.gradient) as f32;
            sums.loss -= weight * token.objective;
            sums.tokens += 1;
            sums.ratio += token.ratio;
            sums.ratio_max = sums.ratio_max.max(token.ratio);
            sums.kl += token.kl;
            sums.clipped_low += u64::from(token.clipped_low);
            sums.clipped_high += u64::from(token.clipped_high);
        }
    }
}

#[cfg(test)]
mod tests;
