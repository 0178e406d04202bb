//! Flags that mean the same in every tool that has them.

/// Where chance begins.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Seed {
    /// Seed of everything random; the same seed gives the same bytes
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

/// How many threads compute.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Threads {
    /// Threads to compute with; never changes a result [default: as many as the machine lends]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

impl Threads {
    /// The number given, or what the machine (affinity, container limits) lets this process use.
    pub fn count(&self) -> usize {
        match self.threads {
            Some(count) => count as usize,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What computes, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Auto,
    Cpu,
    Cuda(usize),
}

/// What computes.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Device {
    /// What computes: cpu, cuda (an NVIDIA GPU; cuda:1 the second), or auto: a GPU where there is one and this was built to
    /// use it, else the CPU
    #[arg(long, default_value = "auto", value_name = "auto|cpu|cuda[:N]", value_parser = place)]
    device: Place,
    /// On a GPU, make every product in one order, so that a row's bits do not depend on the rows that are computed with it, as they
    /// never do on the CPU (slower)
    #[arg(long)]
    batch_invariant: bool,
}

fn place(text: &str) -> Result<Place, String> {
    match text {
        "auto" => Ok(Place::Auto),
        "cpu" => Ok(Place::Cpu),
        "cuda" => Ok(Place::Cuda(0)),
        _ => match text.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => Ok(Place::Cuda(ordinal)),
            _ => Err("it may be auto, cpu, cuda or cuda:N".to_string()),
        },
    }
}

impl Device {
    /// The device that `open` gives for a card's number and whether it is to be batch-invariant, or `None` for the CPU. `built` says whether this binary can use GPUs,
    /// `count` how many this machine has.
    ///
    /// # Errors
    /// Exit 2: a card was asked for, and the binary cannot use it or it cannot be had; or the CPU is asked to be what it always is.
    pub fn choose<D>(
        &self,
        built: bool,
        count: impl FnOnce() -> anyhow::Result<usize>,
        open: impl FnOnce(usize, bool) -> anyhow::Result<D>,
    ) -> anyhow::Result<Option<D>> {
        let chosen = self.place(built, count, |ordinal| open(ordinal, self.batch_invariant))?;
        if chosen.is_none() && self.batch_invariant {
            return Err(crate::misuse(
                "--batch-invariant: the CPU always is",
                "leave it out, or use --device cuda",
            ));
        }
        Ok(chosen)
    }

    fn place<D>(
        &self,
        built: bool,
        count: impl FnOnce() -> anyhow::Result<usize>,
        open: impl FnOnce(usize) -> anyhow::Result<D>,
    ) -> anyhow::Result<Option<D>> {
        let cpu = "use --device cpu";
        match self.device {
            Place::Cpu => Ok(None),
            Place::Cuda(_) if !built => {
                let fact = "--device cuda: this binary was built without GPUs";
                Err(crate::misuse(
                    fact,
                    "build it with --features cuda (no toolkit is needed), or use --device cpu",
                ))
            }
            Place::Cuda(ordinal) => open(ordinal).map(Some).map_err(|e| crate::misuse(format!("{e:#}"), cpu)),
            Place::Auto if !built => Ok(None),
            Place::Auto => match count() {
                Ok(1..) => open(0).map(Some).map_err(|e| crate::misuse(format!("{e:#}"), cpu)),
                Ok(0) => Ok(None),
                Err(e) => {
                    crate::note(&format!("{e:#}: computing on the CPU"));
                    Ok(None)
                }
            },
        }
    }
}

/// What computes, and on how many threads of the host.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Machine {
    /// what computes
    #[command(flatten)]
    pub device: Device,
    /// on how many threads
    #[command(flatten)]
    pub threads: Threads,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    /// Everything flattened into one tool. Two flags with one identity would silently share their value.
    #[derive(Parser)]
    #[command(name = "r1-all")]
    struct All {
        #[command(flatten)]
        input: crate::Input,
        #[command(flatten)]
        _output: crate::Output,
        #[command(flatten)]
        _skip_bad: crate::SkipBad,
        #[command(flatten)]
        _metrics: crate::MetricsFile,
        #[command(flatten)]
        _events: crate::TensorBoard,
        #[command(flatten)]
        seed: super::Seed,
        #[command(flatten)]
        machine: super::Machine,
        #[command(flatten)]
        _talk: crate::Talk,
    }

    #[test]
    fn no_two_flags_share_an_identity() {
        let mut names: Vec<String> =
            All::command().get_arguments().map(|flag| flag.get_id().to_string()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
    }

    #[test]
    fn the_cpu_stands_in_only_where_nothing_else_was_asked_for() {
        let choose = |place, built, cards: usize| {
            let count = move || if cards < 9 { Ok(cards) } else { anyhow::bail!("no driver") };
            super::Device { device: place, batch_invariant: false }
                .choose(built, count, |n, _| if n < cards { Ok(n) } else { anyhow::bail!("no card") })
        };
        use super::Place::{Auto, Cpu, Cuda};
        for (place, built, cards, device) in [
            (Auto, false, 2, None),
            (Auto, true, 0, None),
            (Auto, true, 9, None),
            (Auto, true, 2, Some(0)),
            (Cpu, true, 2, None),
            (Cuda(1), true, 2, Some(1)),
        ] {
            assert_eq!(choose(place, built, cards).unwrap(), device, "{place:?} {built} {cards}");
        }
        let refused = |place, built| choose(place, built, 1).unwrap_err().to_string();
        assert!(refused(Cuda(0), false).contains("--features cuda"));
        assert!(refused(Cuda(1), true).contains("no card"));
        let ordered = |place| {
            super::Device { device: place, batch_invariant: true }.choose(
                true,
                || Ok(1),
                |n, yes| Ok((n, yes)),
            )
        };
        assert_eq!(ordered(Cuda(0)).unwrap(), Some((0, true)));
        assert!(ordered(Cpu).unwrap_err().to_string().contains("--batch-invariant"));
    }

    #[test]
    fn each_flag_has_its_own_value() {
        let all = All::parse_from(
            "r1-all in -o out --skip-bad bad --metrics metrics --seed 7 --threads 3".split(' '),
        );
        assert_eq!((all.input.name().as_str(), all.seed.seed, all.machine.threads.count()), ("in", 7, 3));
        assert!(All::try_parse_from(["r1-all", "--threads", "0"]).is_err());
        let asked = |text: &str| {
            All::try_parse_from(["r1-all", "--device", text]).map(|all| all.machine.device.device)
        };
        assert_eq!(asked("cuda:3").unwrap(), super::Place::Cuda(3));
        assert!(asked("gpu").is_err() && asked("cuda:x").is_err());
        let none = All::parse_from(["r1-all", "--metrics", "metrics"]);
        assert!(none.input.path().is_none() && none.machine.threads.count() >= 1);
    }
}
