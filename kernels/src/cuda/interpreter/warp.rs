//! A warp: 32 lanes, each at its own place in the code. Those that are furthest behind go first, all that stand at one place together, so
//! that lanes that parted meet again where their ways do.

use super::code::{Access, Action, Instruction, Kernel, Kind, Registers, Together, Value, WARP};
use super::scene::{Copy, Scene};
use super::shadow::Touch;
use super::together;

/// Why a warp stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Barrier,
    End,
}

pub(super) struct Warp {
    pub registers: Registers,
    /// Where each lane is.
    at: [usize; WARP],
    /// Lanes that have not ended, and those of them that wait for others.
    live: u32,
    waiting: u32,
    copies: [Vec<Copy>; WARP],
    groups: [usize; WARP],
    pub stop: Option<Stop>,
}

/// The lanes of a mask.
pub(super) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..WARP).filter(move |lane| mask >> lane & 1 == 1)
}

impl Warp {
    pub fn new(kernel: &Kernel) -> Warp {
        // What is read before it is written is NaN.
        let registers = Registers {
            word: vec![[u32::MAX; WARP]; kernel.words],
            wide: vec![[u64::MAX; WARP]; kernel.wides],
            pred: vec![[false; WARP]; kernel.preds],
        };
        Warp {
            registers,
            at: [0; WARP],
            live: 0,
            waiting: 0,
            copies: std::array::from_fn(|_| Vec::new()),
            groups: [0; WARP],
            stop: None,
        }
    }

    /// Puts all lanes at the start, the first of them thread `first` of the block.
    pub fn start(&mut self, kernel: &Kernel, scene: &Scene, first: u32) {
        (self.at, self.live, self.waiting, self.stop) = ([0; WARP], u32::MAX, 0, None);
        self.copies.iter_mut().for_each(Vec::clear);
        self.groups = [0; WARP];
        for &(kind, register, value) in &kernel.given {
            let value = |lane: usize| match value {
                Value::Constant(value) => value,
                Value::Thread => u64::from(first) + lane as u64,
                Value::Threads => u64::from(scene.threads),
                Value::Block(i) => u64::from(scene.block[i]),
                Value::Blocks(i) => u64::from(scene.blocks[i]),
            };
            let register = usize::from(register);
            for lane in 0..WARP {
                match kind {
                    Kind::Word => self.registers.word[register][lane] = value(lane) as u32,
                    Kind::Wide => self.registers.wide[register][lane] = value(lane),
                    Kind::Pred => self.registers.pred[register][lane] = value(lane) == 1,
                }
            }
        }
    }

    /// Runs until all lanes are at a barrier or have ended.
    pub fn run(&mut self, kernel: &Kernel, scene: &mut Scene) -> Result<Stop, String> {
        self.stop = None;
        while self.live & !self.waiting != 0 {
            let ready = self.live & !self.waiting;
            let at = lanes(ready).map(|lane| self.at[lane]).min().unwrap_or_default();
            let together =
                lanes(ready).filter(|&lane| self.at[lane] == at).fold(0, |mask, lane| mask | 1 << lane);
            let others = lanes(ready & !together).map(|lane| self.at[lane]).min().unwrap_or(usize::MAX);
            let done = self.stretch(kernel, scene, at, together, others);
            let stop = done.map_err(|(at, fact)| format!("{fact}, in `{}`", kernel.text[at]))?;
            if stop {
                self.stop = Some(Stop::Barrier);
                return Ok(Stop::Barrier);
            }
        }
        if self.live != 0 {
            let mut places: Vec<&str> =
                lanes(self.live).map(|lane| kernel.text[self.at[lane]].as_str()).collect();
            let (wait, ended) = (places.len(), WARP - places.len());
            places.dedup();
            let places = places.join(" or ");
            return Err(format!("{wait} of a warp's lanes wait, {ended} have ended: {places}"));
        }
        self.stop = Some(Stop::End);
        Ok(Stop::End)
    }

    /// Runs the lanes `mask`, all at `at`, until they part, wait, end, or come to where others are. Whether it is a barrier that stops
    /// all lanes.
    fn stretch(
        &mut self,
        kernel: &Kernel,
        scene: &mut Scene,
        mut at: usize,
        mask: u32,
        others: usize,
    ) -> Result<bool, (usize, String)> {
        loop {
            let instruction = &kernel.code[at];
            let active = self.active(instruction, mask);
            match instruction.action {
                Action::Lanes(run) => run(&mut self.registers, active, &instruction.operands),
                Action::Branch(target) if active == mask => {
                    at = target;
                    if at < others {
                        continue;
                    }
                    self.put(mask, at);
                    return Ok(false);
                }
                Action::Branch(target) if active != 0 => {
                    self.put(active, target);
                    self.put(mask & !active, at + 1);
                    return Ok(false);
                }
                Action::Branch(_) => {}
                Action::Return => {
                    self.live &= !active;
                    self.put(mask & !active, at + 1);
                    if active != 0 {
                        return Ok(false);
                    }
                }
                Action::Barrier | Action::Together(_) => {
                    self.put(mask, at);
                    self.waiting |= mask;
                    let here = lanes(self.waiting).filter(|&lane| self.at[lane] == at);
                    let here = here.fold(0, |mask, lane| mask | 1 << lane);
                    if active != mask {
                        return Err((at, "a guarded exchange".into()));
                    }
                    let members = match instruction.action {
                        Action::Together(what) => together::members(&self.registers, what, instruction, mask),
                        _ => Ok(u32::MAX),
                    };
                    if here != self.live & members.map_err(|fact| (at, fact))? {
                        return Ok(false);
                    }
                    self.waiting &= !here;
                    self.put(here, at + 1);
                    let Action::Together(what) = instruction.action else { return Ok(true) };
                    scene.shadow.step(at);
                    if matches!(what, Together::Wait) {
                        scene.shadow.met();
                    }
                    let done = together::run(&mut self.registers, scene, what, instruction, here);
                    done.map_err(|fact| (at, fact))?;
                    if here != mask {
                        return Ok(false);
                    }
                }
                _ => {
                    scene.shadow.step(at);
                    self.each(scene, instruction, active).map_err(|fact| (at, fact))?;
                }
            }
            at += 1;
            if at >= others {
                self.put(mask, at);
                return Ok(false);
            }
        }
    }

    fn put(&mut self, mask: u32, at: usize) {
        lanes(mask).for_each(|lane| self.at[lane] = at);
    }

    fn active(&self, instruction: &Instruction, mask: u32) -> u32 {
        let Some((register, opposite)) = instruction.guard else { return mask };
        let row = &self.registers.pred[usize::from(register)];
        let set = row.iter().rev().fold(0u32, |bits, &p| bits << 1 | u32::from(p));
        mask & if opposite { !set } else { set }
    }

    /// What lanes do one after the other: memory.
    fn each(&mut self, scene: &mut Scene, instruction: &Instruction, mask: u32) -> Result<(), String> {
        let operand = |i: usize| usize::from(instruction.operands[i]);
        match instruction.action {
            Action::Param { at, bytes, signed, kind } => {
                let mut value = [0; 8];
                value[..bytes].copy_from_slice(&scene.params[at..at + bytes]);
                let value = u64::from_le_bytes(value);
                let value = if signed { i64::from(value as i32) as u64 } else { value };
                for lane in lanes(mask) {
                    self.registers.set(kind, operand(0), lane, value);
                }
            }
            Action::Load(access) => {
                let mut values = [0; 4];
                for lane in lanes(mask) {
                    let at = self.registers.address(&access, operand(access.count), lane);
                    let done = scene.load(&access, at, &mut values, lane, Touch::Read);
                    done.map_err(|fact| said(lane, &fact))?;
                    for (i, &value) in values.iter().enumerate().take(access.count) {
                        self.registers.set(access.kind, operand(i), lane, value);
                    }
                }
            }
            Action::Store(access) => {
                let mut values = [0; 4];
                for lane in lanes(mask) {
                    for (i, value) in values.iter_mut().enumerate().take(access.count) {
                        *value = self.registers.get(access.kind, operand(i), lane);
                    }
                    let at = self.registers.address(&access, operand(access.count), lane);
                    let done = scene.store(&access, at, &values, lane, Touch::Write);
                    done.map_err(|fact| said(lane, &fact))?;
                }
            }
            Action::Atomic(access, combine) => {
                for lane in lanes(mask) {
                    let at = self.registers.address(&access, operand(1), lane);
                    let mine = self.registers.get(access.kind, operand(2), lane);
                    let mut values = [0; 4];
                    let done = scene.load(&access, at, &mut values, lane, Touch::Atomic);
                    done.map_err(|fact| said(lane, &fact))?;
                    let there = values[0];
                    values[0] = combine(there, mine);
                    scene.store(&access, at, &values, lane, Touch::Atomic)?;
                    self.registers.set(access.kind, operand(0), lane, there);
                }
            }
            Action::Copy => {
                for lane in lanes(mask) {
                    let copy = Copy {
                        to: self.registers.word[operand(0)][lane],
                        from: self.registers.wide[operand(1)][lane],
                        bytes: self.registers.word[operand(2)][lane],
                        group: self.groups[lane],
                    };
                    scene.ask(&copy, lane).map_err(|fact| said(lane, &fact))?;
                    self.copies[lane].push(copy);
                }
            }
            Action::CopiesEnd => lanes(mask).for_each(|lane| self.groups[lane] += 1),
            Action::CopiesWait(left) => {
                // As late as they may: a group's copies are there when its lane has waited for it, and not before.
                for lane in lanes(mask) {
                    let kept = self.groups[lane].saturating_sub(left);
                    for copy in self.copies[lane].iter().filter(|copy| copy.group < kept) {
                        scene.copy(copy, lane).map_err(|fact| said(lane, &fact))?;
                    }
                    self.copies[lane].retain(|copy| copy.group >= kept);
                }
            }
            _ => return Err("an action that is not memory's".into()),
        }
        Ok(())
    }
}

fn said(lane: usize, fact: &str) -> String {
    format!("lane {lane}: {fact}")
}

impl Registers {
    fn address(&self, access: &Access, register: usize, lane: usize) -> u64 {
        match access.base {
            Kind::Word => u64::from(self.word[register][lane]),
            _ => self.wide[register][lane],
        }
    }

    fn get(&self, kind: Kind, register: usize, lane: usize) -> u64 {
        match kind {
            Kind::Wide => self.wide[register][lane],
            _ => u64::from(self.word[register][lane]),
        }
    }

    fn set(&mut self, kind: Kind, register: usize, lane: usize, value: u64) {
        match kind {
            Kind::Wide => self.wide[register][lane] = value,
            _ => self.word[register][lane] = value as u32,
        }
    }
}
