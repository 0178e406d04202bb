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
        threads: super::Threads,
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
    fn each_flag_has_its_own_value() {
        let all = All::parse_from(
            "r1-all in -o out --skip-bad bad --metrics metrics --seed 7 --threads 3".split(' '),
        );
        assert_eq!((all.input.name().as_str(), all.seed.seed, all.threads.count()), ("in", 7, 3));
        assert!(All::try_parse_from(["r1-all", "--threads", "0"]).is_err());
        let none = All::parse_from(["r1-all", "--metrics", "metrics"]);
        assert!(none.input.path().is_none() && none.threads.count() >= 1);
    }
}
