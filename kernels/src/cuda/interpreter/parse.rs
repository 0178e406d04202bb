//! Reads PTX as NVRTC writes it: one instruction a line. What it does not know is an error that names it.

use std::collections::HashMap;

use super::code::{Kernel, Module};
use super::decode::Decoder;

/// Where a block's shared memory begins among its addresses: the system has the first KiB.
pub(super) const SHARED_START: usize = 1024;

/// An array in shared memory.
#[derive(Clone, Copy)]
pub(super) struct Symbol {
    pub align: usize,
    /// `None`: of whatever size the launch says.
    pub bytes: Option<usize>,
}

/// All kernels of a module.
pub(super) fn module(text: &str) -> Result<Module, String> {
    let mut found = Module::new();
    // Arrays have names of their own, wherever they are declared.
    let symbols: HashMap<String, Symbol> = text.lines().filter_map(|line| symbol(line.trim())).collect();
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default().trim()));
    while let Some((at, line)) = lines.next() {
        let failed = |fact: String| format!("PTX line {at}: {fact}");
        match line.split_whitespace().next() {
            None | Some(".version" | ".target" | ".address_size") => {}
            Some(".extern" | ".shared") if symbol(line).is_some() => {}
            Some(".visible") => {
                let name = line.strip_prefix(".visible .entry ").and_then(|rest| rest.strip_suffix('('));
                let name = name.ok_or_else(|| failed(format!("cannot read `{line}`")))?;
                let mut entry = Vec::new();
                for (at, line) in lines.by_ref() {
                    if line == "}" {
                        break;
                    }
                    entry.push((at, line));
                }
                found.insert(name.to_string(), kernel(name, &entry, &symbols)?);
            }
            Some(_) => return Err(failed(format!("cannot read `{line}`"))),
        }
    }
    Ok(found)
}

/// `.shared .align 4 .b8 room[128];`, `.shared .align 4 .u32 count;`, `.extern .shared .align 16 .b8 shared[];`
fn symbol(line: &str) -> Option<(String, Symbol)> {
    let rest = line.trim_start_matches(".extern ").strip_prefix(".shared .align ")?.strip_suffix(';')?;
    let mut words = rest.split_whitespace();
    let align = words.next()?.parse().ok()?;
    let size = match words.next()? {
        ".b8" => 1,
        ".u16" => 2,
        ".u32" | ".f32" => 4,
        ".u64" | ".f64" => 8,
        _ => return None,
    };
    let (name, count) = words.next()?.split_once('[').map_or_else(
        || Some((rest.rsplit(' ').next()?, "1")),
        |(name, count)| Some((name, count.strip_suffix(']')?)),
    )?;
    let bytes = if count.is_empty() { None } else { Some(size * count.parse::<usize>().ok()?) };
    Some((name.to_string(), Symbol { align, bytes }))
}

/// One kernel: parameters up to `)`, directives, then declarations of registers, labels and instructions.
fn kernel(name: &str, lines: &[(usize, &str)], symbols: &HashMap<String, Symbol>) -> Result<Kernel, String> {
    let mut decoder = Decoder::new(shared(lines, symbols)?);
    let mut labels = HashMap::new();
    let mut code = Vec::new();
    for &(at, line) in lines {
        let failed = |fact: String| format!("{name}, PTX line {at}: {fact}: `{line}`");
        let unread = || failed("cannot read".into());
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label, code.len());
            continue;
        }
        match line.split_whitespace().next() {
            None | Some(")" | "{" | ".minnctapersm" | ".pragma") => {}
            Some(".param") => {
                let line = line.trim_end_matches(',');
                let mut words = line.split_whitespace().skip(1);
                let (kind, name) = words.next().zip(words.next()).ok_or_else(unread)?;
                decoder.parameter(kind, name).ok_or_else(unread)?;
            }
            Some(".maxntid") => {
                let sizes = line[".maxntid".len()..].split(',').map(|n| n.trim().parse::<u32>());
                let sizes = sizes.collect::<Result<Vec<_>, _>>().map_err(|_| unread())?;
                decoder.kernel.most_threads = Some(sizes.iter().product());
            }
            Some(".shared") if symbol(line).is_some() => {}
            Some(".reg") => decoder.registers(line).ok_or_else(unread)?,
            Some(word) if word.starts_with('.') => return Err(unread()),
            Some(_) => code.push((at, line)),
        }
    }
    for (at, line) in code {
        decoder
            .instruction(line, &labels)
            .map_err(|fact| format!("{name}, PTX line {at}: {fact}: `{line}`"))?;
    }
    Ok(decoder.kernel)
}

/// The addresses of the arrays that a kernel names, those of a known size first, and where they end.
fn shared(
    lines: &[(usize, &str)],
    symbols: &HashMap<String, Symbol>,
) -> Result<(HashMap<String, u64>, usize), String> {
    let mut named: Vec<(&String, &Symbol)> = Vec::new();
    for word in lines.iter().flat_map(|(_, line)| line.split(|c: char| !(c.is_alphanumeric() || c == '_'))) {
        if let Some(found) = symbols.get_key_value(word)
            && !named.iter().any(|(name, _)| *name == found.0)
        {
            named.push(found);
        }
    }
    named.sort_by_key(|(_, symbol)| symbol.bytes.is_none());
    let (mut addresses, mut end) = (HashMap::new(), 0usize);
    for (name, symbol) in named {
        end = end.next_multiple_of(symbol.align);
        addresses.insert(name.clone(), (SHARED_START + end) as u64);
        end += symbol.bytes.unwrap_or(0);
    }
    Ok((addresses, end))
}
