//! Balancing experts without an auxiliary loss (DeepSeek-V3, section 2.1.2): after every update each layer's selection bias
//! moves by ±γ, up for experts that got fewer tokens than the mean and down for those that got more.

use anyhow::Result;
use r1_model::Policy;

/// Tokens per expert of each layer with experts, counted over the batch of one update.
#[derive(Clone, Debug, Default)]
pub struct Load {
    layers: Vec<(usize, Vec<u64>)>,
}

impl Load {
    /// Adds what one forward pass counted.
    pub fn add(&mut self, counted: &[(usize, Vec<u32>)]) {
        for (layer, counts) in counted {
            let at = match self.layers.iter().position(|(l, _)| l == layer) {
                Some(at) => at,
                None => {
                    self.layers.push((*layer, vec![0; counts.len()]));
                    self.layers.len() - 1
                }
            };
            for (sum, n) in self.layers[at].1.iter_mut().zip(counts) {
                *sum += u64::from(*n);
            }
        }
    }

    /// Starts the next batch.
    pub fn clear(&mut self) {
        self.layers.clear();
    }

    /// The busiest expert's load over the mean load, the largest of all layers: 1 is perfect balance. `None` without experts.
    pub fn imbalance(&self) -> Option<f64> {
        let of = |counts: &[u64]| {
            let total: u64 = counts.iter().sum();
            let most = counts.iter().max().copied().unwrap_or(0);
            (total > 0).then(|| most as f64 * counts.len() as f64 / total as f64)
        };
        self.layers.iter().filter_map(|(_, counts)| of(counts)).reduce(f64::max)
    }

    /// b ← b + γ · sign(mean − load), for every layer that has a correction bias. Loads are compared exactly, as integers.
    ///
    /// # Errors
    /// A device's.
    pub fn update_biases(&self, policy: &mut Policy, rate: f64) -> Result<()> {
        if rate == 0.0 {
            return Ok(());
        }
        for (layer, index) in policy.correction_biases() {
            let Some((_, counts)) = self.layers.iter().find(|(l, _)| *l == layer) else { continue };
            let (total, experts) = (counts.iter().sum::<u64>(), counts.len() as u64);
            let bias = &mut policy.parameters_mut()[index].value;
            for (b, n) in bias.iter_mut().zip(counts) {
                match (n * experts).cmp(&total) {
                    std::cmp::Ordering::Less => *b += rate as f32,
                    std::cmp::Ordering::Greater => *b -= rate as f32,
                    std::cmp::Ordering::Equal => {}
                }
            }
            let moved = bias.clone();
            if let Some(network) = policy.on_device() {
                network.set_values(index, &moved)?;
            }
        }
        Ok(())
    }
}
