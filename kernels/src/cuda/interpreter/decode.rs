//! From an instruction as it is written to one that runs: its opcode, its operands as registers.

use std::collections::HashMap;

use super::code::{
    Access, Action, Combine, Instruction, Kernel, Kind, OPERANDS, Shuffle, Space, Together, Value,
};
use super::lanes;

use Kind::{Pred, Wide, Word};

pub(super) struct Decoder {
    pub kernel: Kernel,
    registers: HashMap<String, (Kind, u16)>,
    given: HashMap<(Kind, Value), u16>,
    parameters: HashMap<String, usize>,
    symbols: HashMap<String, u64>,
}

impl Decoder {
    /// With the addresses of arrays in shared memory, and where they end.
    pub fn new((symbols, shared): (HashMap<String, u64>, usize)) -> Decoder {
        let kernel = Kernel {
            code: Vec::new(),
            text: Vec::new(),
            words: 0,
            wides: 0,
            preds: 0,
            given: Vec::new(),
            parameters: Vec::new(),
            shared,
            most_threads: None,
        };
        Decoder {
            kernel,
            registers: HashMap::new(),
            given: HashMap::new(),
            parameters: HashMap::new(),
            symbols,
        }
    }

    /// `.u64 name`: each lies at a multiple of its size.
    pub fn parameter(&mut self, kind: &str, name: &str) -> Option<()> {
        let bytes = size(kind.strip_prefix('.')?)?.0;
        let end = self.kernel.parameters.last().map_or(0, |(at, bytes)| at + bytes);
        let at = end.next_multiple_of(bytes);
        self.kernel.parameters.push((at, bytes));
        self.parameters.insert(name.to_string(), at);
        Some(())
    }

    /// `.reg .f32 %f<26>;`: %f0 to %f25.
    pub fn registers(&mut self, line: &str) -> Option<()> {
        let rest = line.strip_prefix(".reg .")?.strip_suffix(">;")?;
        let (kind, rest) = rest.split_once(char::is_whitespace)?;
        let (name, count) = rest.trim().split_once('<')?;
        let kind = match kind {
            "pred" => Pred,
            "b16" | "b32" | "f32" => Word,
            "b64" | "f64" => Wide,
            _ => return None,
        };
        for i in 0..count.parse::<usize>().ok()? {
            let register = self.fresh(kind).ok()?;
            self.registers.insert(format!("{name}{i}"), (kind, register));
        }
        Some(())
    }

    fn fresh(&mut self, kind: Kind) -> Result<u16, String> {
        let count = match kind {
            Word => &mut self.kernel.words,
            Wide => &mut self.kernel.wides,
            Pred => &mut self.kernel.preds,
        };
        *count += 1;
        u16::try_from(*count - 1).map_err(|_| "more registers than the interpreter has".to_string())
    }

    /// The register that holds this from the start.
    fn holds(&mut self, kind: Kind, value: Value) -> Result<u16, String> {
        if let Some(&register) = self.given.get(&(kind, value)) {
            return Ok(register);
        }
        let register = self.fresh(kind)?;
        self.given.insert((kind, value), register);
        self.kernel.given.push((kind, register, value));
        Ok(register)
    }

    /// A register, a constant, a special register or the address of an array.
    fn operand(&mut self, text: &str, kind: Kind) -> Result<u16, String> {
        if let Some(&(found, register)) = self.registers.get(text) {
            let of_kind = || format!("{text} is not of the kind that the instruction has there");
            return if found == kind { Ok(register) } else { Err(of_kind()) };
        }
        let value = match (text, kind) {
            ("%tid.x", Word) => Value::Thread,
            ("%ntid.x", Word) => Value::Threads,
            ("%ctaid.x", Word) => Value::Block(0),
            ("%ctaid.y", Word) => Value::Block(1),
            ("%ctaid.z", Word) => Value::Block(2),
            ("%nctaid.x", Word) => Value::Blocks(0),
            ("%nctaid.y", Word) => Value::Blocks(1),
            ("%nctaid.z", Word) => Value::Blocks(2),
            _ => Value::Constant(self.constant(text, kind).ok_or_else(|| format!("unknown operand {text}"))?),
        };
        self.holds(kind, value)
    }

    /// The kind of a declared register.
    fn kind(&self, name: &str) -> Option<Kind> {
        self.registers.get(name).map(|found| found.0)
    }

    fn constant(&self, text: &str, kind: Kind) -> Option<u64> {
        if let Some(digits) = text.strip_prefix("0f").filter(|d| d.len() == 8 && kind == Word) {
            return u64::from_str_radix(digits, 16).ok();
        }
        if let Some(digits) = text.strip_prefix("0d").filter(|d| d.len() == 16 && kind == Wide) {
            return u64::from_str_radix(digits, 16).ok();
        }
        if kind == Wide && self.symbols.contains_key(text) {
            return self.symbols.get(text).copied();
        }
        let whole: i128 = text.parse().ok()?;
        match kind {
            Word => (-(1 << 31)..1 << 32).contains(&whole).then_some(u64::from(whole as u32)),
            Wide => (-(1 << 63)..1 << 64).contains(&whole).then_some(whole as u64),
            Pred => (-1..2).contains(&whole).then_some(u64::from(whole != 0)),
        }
    }

    /// Base and offset of `[%rd3+8]`, `[%r4]`, `[room+4]`.
    fn address(&mut self, text: &str) -> Result<(Kind, u16, i64), String> {
        let unread = || format!("cannot read the address {text}");
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or_else(unread)?;
        let (base, offset) = inner.split_once('+').unwrap_or((inner, "0"));
        let offset = offset.parse().map_err(|_| unread())?;
        let kind = self.kind(base).unwrap_or(Wide);
        Ok((kind, self.operand(base, kind)?, offset))
    }

    /// One instruction; labels are where they stand in the code.
    pub fn instruction(&mut self, line: &str, labels: &HashMap<&str, usize>) -> Result<(), String> {
        let whole = line.strip_suffix(';').ok_or("it does not end on its line")?;
        let (guard, rest) = match whole.strip_prefix('@') {
            Some(rest) => {
                let (name, rest) = rest.split_once(char::is_whitespace).ok_or("no instruction")?;
                let (name, opposite) = name.strip_prefix('!').map_or((name, false), |name| (name, true));
                (Some((self.operand(name, Pred)?, opposite)), rest.trim())
            }
            None => (None, whole),
        };
        let (opcode, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let operands: Vec<&str> = split(rest);
        let (action, registers) = self.action(opcode, &operands, labels)?;
        let mut operands = [0; OPERANDS];
        operands.get_mut(..registers.len()).ok_or("too many operands")?.copy_from_slice(&registers);
        self.kernel.code.push(Instruction { action, guard, operands });
        self.kernel.text.push(line.to_string());
        Ok(())
    }

    /// What an opcode does, and the registers of its operands in the order that `Action` says.
    fn action(
        &mut self,
        opcode: &str,
        operands: &[&str],
        labels: &HashMap<&str, usize>,
    ) -> Result<(Action, Vec<u16>), String> {
        let words: Vec<&str> = opcode.split('.').collect();
        let wrong = || format!("{opcode} with {} operands", operands.len());
        let action = match (opcode, operands) {
            ("bra" | "bra.uni", [label]) => {
                let target = labels.get(label).ok_or_else(|| format!("no label {label}"))?;
                (Action::Branch(*target), Vec::new())
            }
            ("ret", []) => (Action::Return, Vec::new()),
            ("bar.sync", ["0"]) => (Action::Barrier, Vec::new()),
            ("bar.warp.sync", [members]) => {
                (Action::Together(Together::Wait), self.all(&[members], &[Word])?)
            }
            ("cp.async.commit_group", []) => (Action::CopiesEnd, Vec::new()),
            ("cp.async.wait_group", [n]) => (Action::CopiesWait(n.parse().map_err(|_| wrong())?), Vec::new()),
            ("cp.async.cg.shared.global", [to, from, "16", bytes]) => {
                let (to, from) = (self.address(to)?, self.address(from)?);
                if (to.0, to.2, from.0, from.2) != (Word, 0, Wide, 0) {
                    return Err(wrong());
                }
                (Action::Copy, vec![to.1, from.1, self.operand(bytes, Word)?])
            }
            ("vote.sync.ballot.b32", [to, p, members]) => {
                (Action::Together(Together::Ballot), self.all(&[to, p, members], &[Word, Pred, Word])?)
            }
            ("mov.b64", [to, from]) if to.starts_with('{') => {
                let mut registers = self.list(to, Word)?;
                registers.push(self.operand(from, Wide)?);
                (Action::Lanes(lanes::parted), registers)
            }
            ("mov.b64", [to, from]) if from.starts_with('{') => {
                let mut registers = vec![self.operand(to, Wide)?];
                registers.extend(self.list(from, Word)?);
                (Action::Lanes(lanes::joined), registers)
            }
            ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", [d, a, b, c]) => {
                let lists = [(d, 4), (a, 4), (b, 2), (c, 4)];
                (Action::Together(Together::Product), self.lists(&lists.map(|(text, n)| (*text, n)))?)
            }
            (
                "ldmatrix.sync.aligned.m8n8.x4.shared.b16" | "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16",
                [to, at],
            ) => {
                let (kind, base, offset) = self.address(at)?;
                if (kind, offset) != (Word, 0) {
                    return Err(wrong());
                }
                let mut registers = self.lists(&[(to, 4)])?;
                registers.push(base);
                (Action::Together(Together::Matrices { transposed: words.contains(&"trans") }), registers)
            }
            _ => match (words[0], operands) {
                ("ld", [to, name]) if words.get(1) == Some(&"param") => self.param(&words[2..], to, name)?,
                ("ld", [value, at]) => {
                    let (access, registers) = self.access(&words[1..], value, at)?;
                    (Action::Load(access), registers)
                }
                ("st", [at, value]) => {
                    let (access, registers) = self.access(&words[1..], value, at)?;
                    (Action::Store(access), registers)
                }
                ("atom", [to, at, value]) => self.atomic(&words, to, at, value)?,
                ("shfl", [to, a, b, c, members]) => {
                    let how = match opcode {
                        "shfl.sync.up.b32" => Shuffle::Up,
                        "shfl.sync.bfly.b32" => Shuffle::Butterfly,
                        "shfl.sync.idx.b32" => Shuffle::Index,
                        _ => return Err(format!("unknown opcode {opcode}")),
                    };
                    let (to, p) = to.split_once('|').ok_or_else(wrong)?;
                    let registers =
                        self.all(&[to, p, a, b, c, members], &[Word, Pred, Word, Word, Word, Word])?;
                    (Action::Together(Together::Shuffle(how)), registers)
                }
                // A conversion takes the low bits of a register that is wider than its source.
                ("cvt", [to, from]) if opcode == "cvt.s64.s32" && self.kind(from) == Some(Wide) => {
                    (Action::Lanes(lanes::low_half), self.all(&[to, from], &[Wide, Wide])?)
                }
                _ => {
                    let entry = lanes::entry(opcode).ok_or_else(|| format!("unknown opcode {opcode}"))?;
                    (Action::Lanes(entry.run), self.all(operands, entry.kinds)?)
                }
            },
        };
        Ok(action)
    }

    fn all(&mut self, operands: &[&str], kinds: &[Kind]) -> Result<Vec<u16>, String> {
        if operands.len() != kinds.len() {
            return Err(format!("{} operands, not {}", operands.len(), kinds.len()));
        }
        operands.iter().zip(kinds).map(|(operand, &kind)| self.operand(operand, kind)).collect()
    }

    /// `{%r1,%r2}`, or a register alone.
    fn list(&mut self, text: &str, kind: Kind) -> Result<Vec<u16>, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        inner.split(',').map(|operand| self.operand(operand.trim(), kind)).collect()
    }

    /// Lists of words of these lengths, one behind the other.
    fn lists(&mut self, lists: &[(&str, usize)]) -> Result<Vec<u16>, String> {
        let mut registers = Vec::new();
        for &(text, count) in lists {
            let list = self.list(text, Word)?;
            if list.len() != count {
                return Err(format!("{text} is not {count} registers"));
            }
            registers.extend(list);
        }
        Ok(registers)
    }

    fn param(&mut self, words: &[&str], to: &str, name: &str) -> Result<(Action, Vec<u16>), String> {
        let inner = name.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or_default();
        let at = *self.parameters.get(inner).ok_or_else(|| format!("no parameter {name}"))?;
        let [word] = words else { return Err(format!("unknown modifiers {words:?}")) };
        let (bytes, kind) = size(word).ok_or_else(|| format!("unknown type {word}"))?;
        let kind = self.kind(to).unwrap_or(kind);
        let to = self.operand(to, kind)?;
        Ok((Action::Param { at, bytes, signed: word.starts_with('s'), kind }, vec![to]))
    }

    /// A load or store by the words behind `ld` or `st`: values' registers, then the base's.
    fn access(&mut self, words: &[&str], value: &str, at: &str) -> Result<(Access, Vec<u16>), String> {
        let (space, words) = match words {
            ["global", rest @ ..] => (Space::Global, rest),
            ["shared", rest @ ..] => (Space::Shared, rest),
            rest => (Space::Generic, rest),
        };
        let (count, kind) = match words {
            ["v2", kind] => (2, kind),
            ["v4", kind] => (4, kind),
            [kind] => (1, kind),
            _ => return Err(format!("unknown modifiers {words:?}")),
        };
        let signed = kind.starts_with('s');
        let (bytes, kind) = size(kind).ok_or_else(|| format!("unknown type {kind}"))?;
        // A register may be wider than its value.
        let kind = self.kind(value).unwrap_or(kind);
        let mut registers = self.list(value, kind)?;
        if registers.len() != count {
            return Err(format!("{value} is not {count} registers"));
        }
        let (base, register, offset) = self.address(at)?;
        registers.push(register);
        Ok((Access { space, bytes, count, signed, kind, base, offset }, registers))
    }

    fn atomic(
        &mut self,
        words: &[&str],
        to: &str,
        at: &str,
        value: &str,
    ) -> Result<(Action, Vec<u16>), String> {
        let combine: Combine = match words[2..] {
            ["add", "u32"] => |a, b| u64::from((a as u32).wrapping_add(b as u32)),
            ["add", "u64"] => u64::wrapping_add,
            ["min", "u64"] => u64::min,
            ["min", "s32"] => |a, b| u64::from((a as i32).min(b as i32) as u32),
            _ => return Err(format!("unknown opcode {}", words.join("."))),
        };
        let (access, mut registers) = self.access(&[words[1], words[3]], to, at)?;
        registers.push(self.operand(value, access.kind)?);
        Ok((Action::Atomic(access, combine), registers))
    }
}

/// Bytes of a value of this type, and the kind of its register. Words narrower than a register fill it with zeros.
fn size(kind: &str) -> Option<(usize, Kind)> {
    Some(match kind {
        "u16" => (2, Word),
        "u32" | "s32" | "f32" => (4, Word),
        "u64" | "f64" => (8, Wide),
        _ => return None,
    })
}

/// At commas that are not in braces.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = text.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}
