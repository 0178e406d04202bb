//! What the loss is told: the flags, and what they settle to.

use anyhow::Result;
use clap::ValueEnum;
use r1_train::flags::{not_negative, positive};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::aggregate::Aggregate;
use super::correction::Correction;
use super::entropy::{Bonus, Controller};
use super::kl;
use super::vespo::Shape;

/// The surrogate, with its usual aggregation and ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub enum Kind {
    /// clipped ratio, sequence-mean (DeepSeekMath)
    #[value(name = "grpo")]
    #[serde(rename = "grpo")]
    Grpo,
    /// clipped ratio, token-mean of the batch (TRL's bnpo, without its micro-batches)
    #[value(name = "bnpo")]
    #[serde(rename = "bnpo")]
    Bnpo,
    /// clipped ratio, token-mean (DAPO)
    #[value(name = "dapo")]
    #[serde(rename = "dapo")]
    Dapo,
    /// clipped ratio, constant; needs --generation-limit (Dr. GRPO)
    #[value(name = "dr_grpo")]
    #[serde(rename = "dr_grpo")]
    DrGrpo,
    /// held ratio, capped; no token loses its gradient (CISPO)
    #[value(name = "cispo")]
    #[serde(rename = "cispo")]
    Cispo,
    /// soft gate on the ratio (SAPO)
    #[value(name = "sapo")]
    #[serde(rename = "sapo")]
    Sapo,
    /// held weight from the ratio of the whole sequence (VESPO)
    #[value(name = "vespo")]
    #[serde(rename = "vespo")]
    Vespo,
    /// clipped ratio of the sequence, sequence-sum (LUSPO)
    #[value(name = "luspo")]
    #[serde(rename = "luspo")]
    Luspo,
    /// clipped ratio of the sequence, sequence-mean (GSPO)
    #[value(name = "gspo")]
    #[serde(rename = "gspo")]
    Gspo,
    /// the same, its gradient through each token alone (GSPO-token)
    #[value(name = "gspo-token")]
    #[serde(rename = "gspo-token")]
    GspoToken,
    /// no ratio at all
    #[value(name = "reinforce", alias = "gpg")]
    #[serde(rename = "reinforce")]
    Reinforce,
    /// clipped ratio with a floor for negative advantages (verl's default)
    #[value(name = "dual-clip")]
    #[serde(rename = "dual-clip")]
    DualClip,
    /// clipped ratio; a few tokens of high covariance are left out
    #[value(name = "clip-cov")]
    #[serde(rename = "clip-cov")]
    ClipCov,
    /// free ratio; tokens of the highest covariance are held back
    #[value(name = "kl-cov")]
    #[serde(rename = "kl-cov")]
    KlCov,
    /// geometric mean of the tokens' clipped ratios (GMPO)
    #[value(name = "gmpo")]
    #[serde(rename = "gmpo")]
    Gmpo,
    /// held ratio; tokens whose probability moved too far are left out (DPPO, total variation)
    #[value(name = "dppo")]
    #[serde(rename = "dppo")]
    Dppo,
    /// the same, by a binary KL divergence
    #[value(name = "dppo-kl")]
    #[serde(rename = "dppo-kl")]
    DppoKl,
}

/// What the importance ratio is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Importance {
    /// each token's own
    Token,
    /// exp of the mean log-ratio of the sequence
    Sequence,
}

/// The loss as the user asked for it.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Loss")]
pub struct Flags {
    /// The surrogate; sets --aggregate, --importance and the clips where they are not given
    #[arg(long, value_enum, default_value_t = Kind::Dapo)]
    pub loss: Kind,
    /// How much a token weighs
    #[arg(long, value_enum)]
    pub aggregate: Option<Aggregate>,
    /// What the ratio is of
    #[arg(long, value_enum)]
    pub importance: Option<Importance>,
    /// ε_low: the ratio is clipped below 1 − ε_low [default: 0.2; gspo 3e-4; gmpo 0.4, of the log-ratio; dppo: of the probability]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub clip_low: Option<f64>,
    /// ε_high: the ratio is clipped above 1 + ε_high (DAPO: 0.28; the paper's first RL stage: 10) [default: 0.2; gspo 4e-4; gmpo 0.4]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub clip_high: Option<f64>,
    /// δ: with a negative advantage the ratio counts as δ at most
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub delta: Option<f64>,
    /// The held ratio's upper bound [default: cispo 5; dppo 20]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub cap: Option<f64>,
    /// c of --loss dual-clip [default: 3]
    #[arg(long, value_name = "X", value_parser = above_one)]
    pub dual_clip: Option<f64>,
    /// τ of --loss sapo for positive and for other advantages [default: 1,1.05]
    #[arg(long, value_name = "X,X", value_parser = pair)]
    pub sapo_temperature: Option<[f64; 2]>,
    /// k and λ of --loss vespo for advantages from 0 on [default: 2,3]
    #[arg(long, value_name = "K,L", value_parser = pair)]
    pub vespo_positive: Option<[f64; 2]>,
    /// k and λ of --loss vespo for negative advantages [default: 3,2]
    #[arg(long, value_name = "K,L", value_parser = pair)]
    pub vespo_negative: Option<[f64; 2]>,
    /// Share of the tokens that clip-cov leaves out or kl-cov holds back; one at least [default: 2e-4]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub cov_share: Option<f64>,
    /// Covariances among which clip-cov draws [default: 1,5]
    #[arg(long, value_name = "LOW,HIGH", value_parser = pair)]
    pub cov_band: Option<[f64; 2]>,
    /// Weight of kl-cov's penalty [default: 1]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub cov_penalty: Option<f64>,
    /// Constant of --aggregate constant: the most tokens that r1-rollout was allowed
    #[arg(long, value_name = "N", value_parser = positive)]
    pub generation_limit: Option<usize>,
    /// β: weight of the divergence from the rows' `reference` in the loss (the paper: 0.001); in the reward: r1-advantage --kl-beta
    #[arg(long, default_value_t = 0.0, value_name = "X", value_parser = not_negative)]
    pub kl_beta: f64,
    /// Which estimator of the divergence [default: k3]
    #[arg(long, value_enum)]
    pub kl_kind: Option<kl::Kind>,
    /// Correct for a sampler that is not this engine; needs --old recompute
    #[arg(long, value_enum)]
    pub correction: Option<Correction>,
    /// Bounds of the correction's weight; the lower may be empty [default: ,3]
    #[arg(long, value_name = "LOW,HIGH", value_parser = bounds)]
    pub correction_bounds: Option<[f64; 2]>,
    /// Leave out rows with a negative advantage from which the policy has moved by more than X nats a token (DeepSeek-V3.2)
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub off_policy_threshold: Option<f64>,
    /// Train this share of the tokens, those of the highest entropy
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub top_entropy: Option<f64>,
    /// Weight of the entropy bonus; the first one where it is adaptive [default: 0]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub entropy_weight: Option<f64>,
    /// Make the bonus adaptive: it acts while the entropy is at most X nats (TRL: 0.2)
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub entropy_target: Option<f64>,
    /// Change of the adaptive weight in one update [default: 0.005]
    #[arg(long, value_name = "X", value_parser = not_negative, requires = "entropy_target")]
    pub entropy_step: Option<f64>,
    /// Bounds of the adaptive weight [default: 0,1]
    #[arg(long, value_name = "LOW,HIGH", value_parser = pair, requires = "entropy_target")]
    pub entropy_bounds: Option<[f64; 2]>,
}

/// The loss, settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// the surrogate
    pub kind: Kind,
    /// how much a token weighs
    pub aggregate: Aggregate,
    /// what the ratio is of
    pub importance: Importance,
    /// ε_low
    pub clip_low: f64,
    /// ε_high
    pub clip_high: f64,
    /// δ
    pub delta: Option<f64>,
    /// bound of a held ratio
    pub cap: f64,
    /// c of the dual clip
    pub dual_clip: f64,
    /// τ for positive and for other advantages
    pub sapo: [f64; 2],
    /// φ for advantages from 0 on and for negative ones
    pub vespo: [Shape; 2],
    /// share of tokens chosen by covariance
    pub cov_share: f64,
    /// covariances among which clip-cov draws
    pub cov_band: [f64; 2],
    /// weight of kl-cov's penalty
    pub cov_penalty: f64,
    /// constant of the aggregation
    pub generation_limit: usize,
    /// β
    pub kl_beta: f64,
    /// which divergence
    pub kl_kind: kl::Kind,
    /// correction for a foreign sampler
    pub correction: Option<Correction>,
    /// bounds of its weight
    pub correction_bounds: [f64; 2],
    /// DeepSeek-V3.2's mask
    pub off_policy_threshold: Option<f64>,
    /// share of tokens trained
    pub top_entropy: Option<f64>,
    /// the entropy bonus
    pub bonus: Option<Bonus>,
}

impl Flags {
    /// Settles the flags; `recomputes` is `--old recompute`.
    ///
    /// # Errors
    /// Exit 2: a flag that this loss does not look at, or a combination without a meaning.
    pub fn settle(&self, recomputes: bool) -> Result<Objective> {
        use Kind as K;
        let kind = self.loss;
        let clips = !matches!(kind, K::Sapo | K::Vespo | K::Reinforce | K::KlCov);
        let plain = matches!(kind, K::Grpo | K::Bnpo | K::Dapo | K::DrGrpo | K::Luspo | K::Gspo);
        let chooses = plain || matches!(kind, K::DualClip | K::Cispo | K::Sapo);
        let covariance = matches!(kind, K::ClipCov | K::KlCov);
        let holds = matches!(kind, K::Cispo | K::Dppo | K::DppoKl);
        let (aggregate, importance) = match kind {
            K::Grpo | K::Sapo | K::Gmpo => (Aggregate::SequenceMean, Importance::Token),
            K::Gspo | K::GspoToken => (Aggregate::SequenceMean, Importance::Sequence),
            K::Luspo => (Aggregate::SequenceSum, Importance::Sequence),
            K::DrGrpo => (Aggregate::Constant, Importance::Token),
            _ => (Aggregate::TokenMean, Importance::Token),
        };
        let aggregate = self.aggregate.unwrap_or(aggregate);
        let constant = aggregate == Aggregate::Constant;
        let unread = [
            ("--importance", self.importance.is_some(), chooses),
            ("--clip-low", self.clip_low.is_some(), clips),
            ("--clip-high", self.clip_high.is_some(), clips && kind != K::Cispo),
            ("--delta", self.delta.is_some(), plain),
            ("--cap", self.cap.is_some(), holds),
            ("--dual-clip", self.dual_clip.is_some(), kind == K::DualClip),
            ("--sapo-temperature", self.sapo_temperature.is_some(), kind == K::Sapo),
            ("--vespo-positive", self.vespo_positive.is_some(), kind == K::Vespo),
            ("--vespo-negative", self.vespo_negative.is_some(), kind == K::Vespo),
            ("--cov-share", self.cov_share.is_some(), covariance),
            ("--cov-band", self.cov_band.is_some(), kind == K::ClipCov),
            ("--cov-penalty", self.cov_penalty.is_some(), kind == K::KlCov),
        ];
        let name = kind.to_possible_value().map_or(String::new(), |v| v.get_name().to_string());
        if let Some((flag, _, _)) = unread.iter().find(|(_, given, read)| *given && !read) {
            let fact = format!("{flag} has no effect with --loss {name}");
            return Err(r1_cli::misuse(fact, "leave it out, or choose another --loss"));
        }
        let correction_missing = self.correction_bounds.is_some() && self.correction.is_none();
        let whole_sequence = self.correction.is_some_and(|c| !c.by_token());
        for (wrong, fact, remedy) in [
            (
                constant && self.generation_limit.is_none(),
                format!("--loss {name} with --aggregate constant needs --generation-limit"),
                "give the limit that r1-rollout had with --max-tokens",
            ),
            (
                !constant && self.generation_limit.is_some(),
                "--generation-limit has no effect without --aggregate constant".into(),
                "leave it out",
            ),
            (
                self.kl_beta == 0.0 && self.kl_kind.is_some(),
                "--kl-kind has no effect without --kl-beta".into(),
                "give both",
            ),
            (
                correction_missing,
                "--correction-bounds has no effect without --correction".into(),
                "give both",
            ),
            (
                self.correction.is_some() && !recomputes,
                "--correction compares the old policy with the sampler, and with --old recorded they are one"
                    .into(),
                "give --old recompute",
            ),
            (
                kind == K::Vespo && whole_sequence,
                "--loss vespo takes the correction token by token into its own ratio".into(),
                "use tis-token or mis-token",
            ),
            (
                kind == K::Gmpo && self.top_entropy.is_some(),
                "--loss gmpo has one ratio a sequence, from which --top-entropy cannot leave tokens out"
                    .into(),
                "leave it out, or choose another --loss",
            ),
        ] {
            if wrong {
                return Err(r1_cli::misuse(fact, remedy));
            }
        }
        let clip = match kind {
            K::Gspo | K::GspoToken | K::Luspo => [3e-4, 4e-4],
            K::Gmpo => [0.4, 0.4],
            // TRL and ScaleRL bound the held ratio above only.
            K::Cispo => [1.0, 0.2],
            _ => [0.2, 0.2],
        };
        let shape = |flag: Option<[f64; 2]>, [k, lambda]: [f64; 2]| {
            flag.map_or(Shape { k, lambda }, |[k, lambda]| Shape { k, lambda })
        };
        let first = self.entropy_weight.unwrap_or(0.0);
        let bonus = match self.entropy_target {
            Some(target) => Some(Bonus::Adaptive(Controller {
                first,
                target,
                step: self.entropy_step.unwrap_or(0.005),
                bounds: self.entropy_bounds.unwrap_or([0.0, 1.0]),
            })),
            None => (first > 0.0).then_some(Bonus::Fixed(first)),
        };
        Ok(Objective {
            kind,
            aggregate,
            importance: self.importance.unwrap_or(importance),
            clip_low: self.clip_low.unwrap_or(clip[0]),
            clip_high: self.clip_high.unwrap_or(clip[1]),
            delta: self.delta,
            cap: self.cap.unwrap_or(if kind == K::Cispo { 5.0 } else { 20.0 }),
            dual_clip: self.dual_clip.unwrap_or(3.0),
            sapo: self.sapo_temperature.unwrap_or([1.0, 1.05]),
            vespo: [shape(self.vespo_positive, [2.0, 3.0]), shape(self.vespo_negative, [3.0, 2.0])],
            cov_share: self.cov_share.unwrap_or(2e-4),
            cov_band: self.cov_band.unwrap_or([1.0, 5.0]),
            cov_penalty: self.cov_penalty.unwrap_or(1.0),
            generation_limit: self.generation_limit.unwrap_or(1),
            kl_beta: self.kl_beta,
            kl_kind: self.kl_kind.unwrap_or(kl::Kind::K3),
            correction: self.correction,
            correction_bounds: self.correction_bounds.unwrap_or([0.0, 3.0]),
            off_policy_threshold: self.off_policy_threshold,
            top_entropy: self.top_entropy.filter(|share| *share < 1.0),
            bonus,
        })
    }
}

impl Objective {
    /// Everything that the loss looks at, for `train.json`.
    pub fn record(&self, command: &mut Map<String, Value>) {
        use Kind as K;
        let kind = self.kind;
        let mut add = |name: &str, looks: bool, value: Value| {
            if looks {
                command.insert(name.into(), value);
            }
        };
        let clips = !matches!(kind, K::Sapo | K::Vespo | K::Reinforce | K::KlCov);
        let covariance = matches!(kind, K::ClipCov | K::KlCov);
        add("loss", true, json!(kind));
        add("aggregate", true, json!(self.aggregate));
        add("importance", true, json!(self.importance));
        add("clip-low", clips, json!(self.clip_low));
        add("clip-high", clips && kind != K::Cispo, json!(self.clip_high));
        add("delta", self.delta.is_some(), json!(self.delta));
        add("cap", matches!(kind, K::Cispo | K::Dppo | K::DppoKl), json!(self.cap));
        add("dual-clip", kind == K::DualClip, json!(self.dual_clip));
        add("sapo-temperature", kind == K::Sapo, json!(self.sapo));
        add("vespo-positive", kind == K::Vespo, json!([self.vespo[0].k, self.vespo[0].lambda]));
        add("vespo-negative", kind == K::Vespo, json!([self.vespo[1].k, self.vespo[1].lambda]));
        add("cov-share", covariance, json!(self.cov_share));
        add("cov-band", kind == K::ClipCov, json!(self.cov_band));
        add("cov-penalty", kind == K::KlCov, json!(self.cov_penalty));
        add("generation-limit", self.aggregate == Aggregate::Constant, json!(self.generation_limit));
        add("kl-beta", true, json!(self.kl_beta));
        add("kl-kind", self.kl_beta > 0.0, json!(self.kl_kind));
        add("correction", self.correction.is_some(), json!(self.correction));
        add("correction-bounds", self.correction.is_some(), json!(self.correction_bounds));
        add("off-policy-threshold", self.off_policy_threshold.is_some(), json!(self.off_policy_threshold));
        add("top-entropy", self.top_entropy.is_some(), json!(self.top_entropy));
        match self.bonus {
            Some(Bonus::Fixed(weight)) => add("entropy-weight", true, json!(weight)),
            Some(Bonus::Adaptive(c)) => {
                add("entropy-weight", true, json!(c.first));
                add("entropy-target", true, json!(c.target));
                add("entropy-step", true, json!(c.step));
                add("entropy-bounds", true, json!(c.bounds));
            }
            None => {}
        }
    }

    /// Whether the loss needs log-probabilities or entropies of the whole batch before the first gradient.
    pub fn looks_ahead(&self) -> bool {
        self.top_entropy.is_some() || matches!(self.kind, Kind::ClipCov | Kind::KlCov)
    }
}

/// A finite number above 1.
fn above_one(text: &str) -> Result<f64, String> {
    not_negative(text).and_then(|x| if x > 1.0 { Ok(x) } else { Err("must be above 1".to_string()) })
}

/// A share: above 0, at most 1.
fn share(text: &str) -> Result<f64, String> {
    let outside = || "must be above 0 and at most 1".to_string();
    not_negative(text).and_then(|x| if x > 0.0 && x <= 1.0 { Ok(x) } else { Err(outside()) })
}

/// Two numbers from 0 on.
fn pair(text: &str) -> Result<[f64; 2], String> {
    let (a, b) = text.split_once(',').ok_or("two numbers with a comma between them are needed")?;
    Ok([not_negative(a)?, not_negative(b)?])
}

/// A lower and an upper bound; no lower one is 0.
fn bounds(text: &str) -> Result<[f64; 2], String> {
    let (low, high) = text.split_once(',').ok_or("two bounds with a comma between them are needed")?;
    let low = if low.is_empty() { 0.0 } else { not_negative(low)? };
    let high = not_negative(high)?;
    if low <= high { Ok([low, high]) } else { Err("the lower bound is above the upper one".to_string()) }
}
