//! The stack machine.

use std::collections::HashMap;

use super::heap::{Heap, Id, Value};
use super::opcodes;
use super::rebuild::{self, LONGEST, Made};
use crate::weights::refusal::{Outcome, Refusal, damaged, unread};

/// A pickle that was read.
pub(crate) struct Loaded {
    pub heap: Heap,
    /// Its value.
    pub root: Id,
    /// Where it ends in the bytes.
    pub end: usize,
}

/// The pickle that begins at `start`.
///
/// # Errors
/// A pickle that is cut short or that does what no whole one does; an instruction that `torch.save` does not write, by its name.
pub(crate) fn load(bytes: &[u8], start: usize) -> Outcome<Loaded> {
    let mut machine = Machine {
        bytes,
        at: start,
        heap: Heap::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    loop {
        let from = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => {
                return Ok(Loaded {
                    heap: machine.heap,
                    root,
                    end: machine.at,
                });
            }
            Err(Refusal::Damaged(problem)) => {
                return damaged(format!("{problem} (byte {from} of its pickle)"));
            }
            Err(other) => return Err(other),
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    heap: Heap,
    stack: Vec<Id>,
    /// Heights of the stack that were marked.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Items that calls have copied from one value into another.
    copied: usize,
}

impl<'a> Machine<'a> {
    /// The next instruction; the value of the pickle at its end.
    fn step(&mut self) -> Outcome<Option<Id>> {
        let [opcode] = self.array()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let [protocol] = self.array()?;
                if !(2..=5).contains(&protocol) {
                    return unread(format!(
                        "its pickle is of protocol {protocol}; 2 to 5 are read"
                    ));
                }
            }
            // A frame says how long the next part is, which nobody needs to know who has all of it.
            0x95 => {
                self.array::<8>()?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.since_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(Id::NONE),
            0x88 => self.stack.push(Id::TRUE),
            0x89 => self.stack.push(Id::FALSE),
            b')' => self.stack.push(Id::EMPTY),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(opcode)?,
            b'K' | b'M' | b'J' | 0x8a | 0x8b | b'G' => self.number(opcode)?,
            b'X' | 0x8c | 0x8d => {
                let text = self.text_of(opcode)?;
                self.push(Value::Text(text))?;
            }
            b'U' | b'T' => {
                // Bytes of Python 2, in which names of parameters are such.
                let length = if opcode == b'U' {
                    self.length::<1>()?
                } else {
                    self.length::<4>()?
                };
                let text = String::from_utf8_lossy(self.take(length)?).into_owned();
                self.push(Value::Text(text))?;
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let length = match opcode {
                    b'C' => self.length::<1>()?,
                    b'B' => self.length::<4>()?,
                    _ => self.length::<8>()?,
                };
                self.take(length)?;
                self.push(Value::Bytes)?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b']' => self.push(Value::List(Vec::new()))?,
            0x8f => self.push(Value::Object("builtins.set".to_owned(), Vec::new()))?,
            b't' | 0x85..=0x87 => self.tuple(opcode)?,
            0x91 => {
                self.since_mark()?;
                self.push(Value::Object("builtins.frozenset".to_owned(), Vec::new()))?;
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(opcode)?,
            b'c' | 0x93 => {
                let name = self.name(opcode)?;
                self.push(Value::Name(name))?;
            }
            b'Q' => {
                let id = self.pop()?;
                let stored = rebuild::persistent(&self.heap, id)?;
                self.push(stored)?;
            }
            b'R' | 0x81 | 0x92 => {
                if opcode == 0x92 {
                    self.pop()?;
                }
                let (arguments, function) = (self.pop()?, self.pop()?);
                match rebuild::call(&self.heap, function, arguments)? {
                    Made::Same(id) => self.stack.push(id),
                    Made::New(value) => {
                        self.charge(&value)?;
                        self.push(value)?;
                    }
                }
            }
            // What an object is told of itself changes neither a dictionary nor a tensor.
            b'b' => {
                self.pop()?;
                self.top()?;
            }
            other => return refused(other),
        }
        Ok(None)
    }

    /// Counts what a new dictionary has copied: of a whole pickle no more than was put once.
    fn charge(&mut self, value: &Value) -> Outcome<()> {
        if let Value::Dict(items) = value {
            self.copied += items.len();
        }
        if self.copied > self.bytes.len() {
            return unread("its pickle copies dictionaries again and again");
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Outcome<()> {
        let id = self.heap.put(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Outcome<Id> {
        match self.stack.pop() {
            Some(id)
                if self
                    .marks
                    .last()
                    .is_none_or(|mark| self.stack.len() >= *mark) =>
            {
                Ok(id)
            }
            _ => damaged("it takes a value that was not put"),
        }
    }

    fn top(&self) -> Outcome<Id> {
        match self.stack.last() {
            Some(id)
                if self
                    .marks
                    .last()
                    .is_none_or(|mark| self.stack.len() > *mark) =>
            {
                Ok(*id)
            }
            _ => damaged("it uses a value that was not put"),
        }
    }

    /// What was put since the last mark.
    fn since_mark(&mut self) -> Outcome<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => damaged("a mark is missing"),
        }
    }

    fn take(&mut self, length: usize) -> Outcome<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.get(..length) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => damaged("it is cut short"),
        }
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A length in N bytes.
    fn length<const N: usize>(&mut self) -> Outcome<usize> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        // More than the machine can address is more than there is.
        Ok(usize::try_from(u64::from_le_bytes(wide)).unwrap_or(usize::MAX))
    }

    fn text(&mut self, length: usize) -> Outcome<String> {
        let bytes = self.take(length)?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => damaged("a text is not UTF-8"),
        }
    }

    fn text_of(&mut self, opcode: u8) -> Outcome<String> {
        let length = match opcode {
            0x8c => self.length::<1>()?,
            b'X' => self.length::<4>()?,
            _ => self.length::<8>()?,
        };
        self.text(length)
    }

    fn line(&mut self) -> Outcome<String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(length) => {
                let line = self.text(length)?;
                self.at += 1;
                Ok(line)
            }
            None => damaged("it is cut short"),
        }
    }

    /// A class or function.
    fn name(&mut self, opcode: u8) -> Outcome<String> {
        let name = if opcode == b'c' {
            let (module, name) = (self.line()?, self.line()?);
            format!("{module}.{name}")
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (self.heap.text(module), self.heap.text(name)) {
                (Some(module), Some(name)) => format!("{module}.{name}"),
                _ => return damaged("a name is no text"),
            }
        };
        if name.len() > LONGEST {
            return damaged(format!("a name has {} bytes", name.len()));
        }
        Ok(name)
    }

    fn memory(&mut self, opcode: u8) -> Outcome<()> {
        let place = match opcode {
            b'q' | b'h' => u32::from(self.array::<1>()?[0]),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            _ => u32::try_from(self.memo.len()).unwrap_or(u32::MAX),
        };
        if matches!(opcode, b'h' | b'j') {
            let Some(id) = self.memo.get(&place) else {
                return damaged(format!("it uses value {place}, which it does not have"));
            };
            self.stack.push(*id);
        } else {
            let top = self.top()?;
            self.memo.insert(place, top);
        }
        Ok(())
    }

    fn number(&mut self, opcode: u8) -> Outcome<()> {
        let value = match opcode {
            b'K' => Value::Int(i128::from(self.array::<1>()?[0])),
            b'M' => Value::Int(i128::from(u16::from_le_bytes(self.array()?))),
            b'J' => Value::Int(i128::from(i32::from_le_bytes(self.array()?))),
            b'G' => Value::Float(f64::from_be_bytes(self.array()?)),
            _ => {
                let length = if opcode == 0x8a {
                    self.length::<1>()?
                } else {
                    self.length::<4>()?
                };
                long(self.take(length)?)
            }
        };
        self.push(value)
    }

    fn tuple(&mut self, opcode: u8) -> Outcome<()> {
        let elements = if opcode == b't' {
            self.since_mark()?
        } else {
            let mut elements = Vec::new();
            for _ in 0x84..opcode {
                elements.push(self.pop()?);
            }
            elements.reverse();
            elements
        };
        self.push(Value::Tuple(elements))
    }

    /// Puts elements into a list or set, or items into a dictionary.
    fn fill(&mut self, opcode: u8) -> Outcome<()> {
        let new = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            _ => self.since_mark()?,
        };
        let to = self.top()?;
        let taken = match (opcode, self.heap.get_mut(to)) {
            (b'a' | b'e', Some(Value::List(elements))) => {
                elements.extend(new);
                true
            }
            (b's' | b'u', Some(Value::Dict(items) | Value::Object(_, items))) => {
                let (pairs, rest) = new.as_chunks();
                items.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                rest.is_empty()
            }
            // The elements of an object that only its own program knows.
            (b'a' | b'e' | 0x90, Some(Value::Object(..))) => true,
            _ => false,
        };
        if !taken {
            return damaged(format!("it puts elements into {}", self.heap.kind(to)));
        }
        Ok(())
    }
}

/// An integer in two's complement.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 16 {
        return Value::Bytes;
    }
    let sign = if bytes.last().is_some_and(|byte| *byte >= 0x80) {
        0xFF
    } else {
        0
    };
    let mut wide = [sign; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i128::from_le_bytes(wide))
}

fn refused<T>(opcode: u8) -> Outcome<T> {
    match opcodes::name(opcode) {
        Some((name, protocol)) => unread(format!(
            "its pickle has the instruction {name} of protocol {protocol}, which torch.save does not write; save it again with a \
             current torch.save(…, pickle_protocol=2)"
        )),
        None => damaged(format!("byte {opcode:#04x} is no instruction")),
    }
}
