//! The interpreter itself.

use super::*;
use crate::cuda::{SOURCES, sources};

#[test]
fn all_ptx_is_read() {
    if let Err(missing) = libraries::nvrtc() {
        return eprintln!("skipped: {missing}");
    }
    for capability in [80, 90] {
        for source in SOURCES {
            let text = module::intermediate(source, capability).unwrap();
            let module = parse::module(std::str::from_utf8(&text).unwrap().trim_end_matches('\0'));
            let module = module.unwrap_or_else(|fact| panic!("{}: {fact}", source.name));
            for (kernel, _) in crate::cuda::launch::signatures(source.text) {
                assert!(module.contains_key(&kernel), "{kernel} of {}", source.name);
            }
        }
    }
    assert_eq!(sources().len(), SOURCES.len());
}
