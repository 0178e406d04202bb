//! What of the machine's memory is used and free, as Linux tells it; nothing elsewhere.

use std::fs;

/// The number of kB behind `key` in a file of `/proc`, in bytes.
fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| 1024 * kb)
}

/// Most bytes that this process has had in memory so far.
pub fn peak() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

/// Bytes that a program could be given now without swapping.
pub fn available() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_used_has_been_counted() {
        let before = peak().unwrap();
        let block = vec![1u8; 64 << 20];
        assert!(block.iter().map(|b| u64::from(*b)).sum::<u64>() == 64 << 20);
        assert!(peak().unwrap() >= before.max(64 << 20) && available().unwrap() > 0);
    }
}
