//! Which instructions this process uses: found once at run time, or forced by the environment variable `R1_ISA`.
//!
//! The `dispatch!` macro writes one public entry for one `#[inline(always)]` body and compiles that body three
//! times: for AVX-512, for AVX2 + FMA and for the plain target. The source, hence the order of operations, is
//! the same; `f32::mul_add` is fused everywhere; so all three give the same bits.

use std::sync::OnceLock;

use crate::Precision;

/// An instruction set level. Every level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the compile target guarantees.
    Portable,
    /// AVX2 and FMA (x86-64).
    Avx2,
    /// AVX-512 F, BW, DQ and VL (x86-64).
    Avx512,
    /// AVX-512 with the bfloat16 dot product (x86-64: Zen 4, Cooper Lake, Sapphire Rapids and later).
    Avx512Bf16,
    /// The above with bfloat16 products on tiles (x86-64 under Linux: Sapphire Rapids and later).
    Amx,
}

impl Isa {
    /// The word that `R1_ISA` takes for this level.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Amx => "amx",
        }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The best level that this machine reports, and where AMX is not it, why.
pub(crate) fn detect() -> (Isa, Result<(), String>) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let level = if !(has!("avx2") && has!("fma")) {
            Isa::Portable
        } else if !(has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl")) {
            Isa::Avx2
        } else if !has!("avx512bf16") {
            Isa::Avx512
        } else {
            Isa::Avx512Bf16
        };
        let amx = if level == Isa::Avx512Bf16 { crate::linear::amx() } else { Err(String::new()) };
        (if amx.is_ok() { Isa::Amx } else { level }, amx)
    }
    #[cfg(not(target_arch = "x86_64"))]
    (Isa::Portable, Err(String::new()))
}

/// The level for a request (`R1_ISA`'s value) on a machine whose best level is `best`; `amx` says why it has no AMX.
fn choose(request: Option<&str>, best: Isa, amx: Result<(), String>) -> Result<Isa, String> {
    let Some(word) = request.filter(|word| !word.is_empty()) else { return Ok(best) };
    let levels = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];
    let Some(level) = levels.into_iter().find(|level| level.name() == word) else {
        return Err(format!(
            "R1_ISA={word}: not an instruction set; use portable, avx2, avx512, avx512bf16 or amx"
        ));
    };
    if level > best {
        let why = match amx {
            Err(why) if level == Isa::Amx && !why.is_empty() => format!(" ({why})"),
            _ => String::new(),
        };
        return Err(format!(
            "R1_ISA={word}: this machine has {best} at most{why}; unset R1_ISA or ask for {best}"
        ));
    }
    Ok(level)
}

static CHOSEN: OnceLock<Result<Isa, String>> = OnceLock::new();

fn chosen() -> &'static Result<Isa, String> {
    CHOSEN.get_or_init(|| {
        // `R1_ISA=amx cargo test -p r1-kernels` runs every op's tests on tiles, emulated where they are not there.
        #[cfg(all(test, target_arch = "x86_64"))]
        if std::env::var("R1_ISA").is_ok_and(|word| word == "amx") && crate::linear::emulated_amx() {
            return Ok(Isa::Amx);
        }
        let (best, amx) = detect();
        choose(std::env::var("R1_ISA").ok().as_deref(), best, amx)
    })
}

/// The instruction set in use: the machine's best, or the one that `R1_ISA` names. Fixed at the first call.
///
/// # Errors
/// One line when `R1_ISA` names no level, or one that this machine lacks. A tool asks at start, so that no op
/// is ever entered with an impossible request.
pub fn isa() -> Result<Isa, String> {
    chosen().clone()
}

/// Whether matrix products can be computed in `precision` with the instruction set in use.
///
/// # Errors
/// One line that says which level is in use and what to do.
pub fn supports(precision: Precision) -> Result<(), String> {
    let level = isa()?;
    match precision {
        Precision::F32 => Ok(()),
        Precision::Bf16 if level >= Isa::Avx512Bf16 => Ok(()),
        Precision::Bf16 => Err(format!(
            "bf16 matrix products need avx512bf16 or amx, this run uses {level}; use --dtype f32"
        )),
    }
}

/// The level for dispatch inside ops.
///
/// # Panics
/// When `R1_ISA` asks for the impossible and the caller has not asked [`isa`] first.
#[inline]
pub(crate) fn active() -> Isa {
    match chosen() {
        Ok(level) => *level,
        Err(message) => panic!("{message}"),
    }
}

/// One entry, one body, three compilations, chosen at run time.
///
/// ```text
/// dispatch! {
///     /// Doc comment of the entry.
///     pub(crate) fn scale(x: &mut [f32], by: f32) = scale_body;
/// }
/// #[inline(always)]
/// fn scale_body(x: &mut [f32], by: f32) { for v in x { *v *= by } }
/// ```
/// Everything that the body calls must be `#[inline(always)]` too, else it is compiled for the plain target.
/// Constants go in as const generics of the body: `= scale_body::<4>;`.
macro_rules! dispatch {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:expr;)+) => {$(
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            match $crate::isa::active() {
                // SAFETY: `active` never returns a level above what the machine reports.
                #[cfg(target_arch = "x86_64")]
                level if level >= $crate::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => $body($($arg),*),
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_met_exactly_or_refused() {
        let choose = |word, best| super::choose(word, best, Err("its kernel refuses".into()));
        assert_eq!(choose(None, Isa::Avx2), Ok(Isa::Avx2));
        assert_eq!(choose(Some(""), Isa::Avx2), Ok(Isa::Avx2));
        assert_eq!(choose(Some("portable"), Isa::Avx512Bf16), Ok(Isa::Portable));
        assert_eq!(choose(Some("avx512"), Isa::Avx512Bf16), Ok(Isa::Avx512));
        assert_eq!(choose(Some("amx"), Isa::Amx), Ok(Isa::Amx));
        assert_eq!(choose(Some("avx512bf16"), Isa::Amx), Ok(Isa::Avx512Bf16));
        let refused = choose(Some("avx512bf16"), Isa::Avx512).unwrap_err();
        assert!(refused.contains("avx512 at most;"), "{refused}");
        let refused = choose(Some("amx"), Isa::Avx512Bf16).unwrap_err();
        assert!(refused.contains("avx512bf16 at most (its kernel refuses);"), "{refused}");
        assert!(choose(Some("sse9"), Isa::Avx512).unwrap_err().contains("not an instruction set"));
    }
}
