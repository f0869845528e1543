//! The stack machine that a pickle is a program for.
//!
//! It reads protocols 0 to 5 as far as files of tensors use them. Instructions push objects, gather
//! them into tuples, lists and dictionaries, and keep them in a memo to be pushed again. Calls go
//! to the kinds of [`Global`] alone.

use std::collections::HashMap;

use super::code::Code;
use super::error::Error;
use super::object::{Global, Id, Object, Objects};
use super::opcode;
use super::tensor::Storages;
use super::value::Value;

/// Runs the pickle `code` and returns what it builds, its tensors taken from `storages`.
pub fn run(code: &[u8], storages: Storages) -> Result<Value, Error> {
    let mut machine = Machine {
        code: Code::new(code),
        objects: Objects::new(storages),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    while machine.step()? == Execution::Continue {}
    let result = machine.pop()?;
    machine.objects.into_value(result)
}

/// Whether the program has more instructions.
#[derive(PartialEq)]
enum Execution {
    Continue,
    Stop,
}

struct Machine<'p, 'a> {
    code: Code<'p>,
    objects: Objects<'p, 'a>,
    stack: Vec<Id>,
    /// Heights of the stack where a MARK was set. No instruction may take what lies below the last
    /// one until that mark is removed.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'p> Machine<'p, '_> {
    fn step(&mut self) -> Result<Execution, Error> {
        self.code.begin();
        match self.code.byte()? {
            opcode::STOP => return Ok(Execution::Stop),
            opcode::PROTO => match self.code.byte()? {
                0..=5 => {}
                other => return Err(Error::Protocol(other)),
            },
            // Says how many bytes belong together, for readers of streams.
            opcode::FRAME => {
                self.code.bytes(8)?;
            }

            opcode::NONE => self.push(Object::None)?,
            opcode::NEWTRUE => self.push(Object::Bool(true))?,
            opcode::NEWFALSE => self.push(Object::Bool(false))?,
            opcode::BININT => {
                let int = i32::from_le_bytes(self.code.array()?);
                self.push(Object::Int(int.into()))?;
            }
            opcode::BININT1 => {
                let int = self.code.byte()?;
                self.push(Object::Int(int.into()))?;
            }
            opcode::BININT2 => {
                let int = u16::from_le_bytes(self.code.array()?);
                self.push(Object::Int(int.into()))?;
            }
            opcode::LONG1 => {
                let int = self.code.long()?;
                self.push(Object::Int(int))?;
            }
            opcode::BINFLOAT => {
                let float = f64::from_be_bytes(self.code.array()?);
                self.push(Object::Float(float))?;
            }
            opcode::SHORT_BINUNICODE => {
                let length = self.code.byte()?;
                self.text(length.into())?;
            }
            opcode::BINUNICODE => {
                let length = u32::from_le_bytes(self.code.array()?);
                self.text(length.into())?;
            }
            opcode::BINUNICODE8 => {
                let length = u64::from_le_bytes(self.code.array()?);
                self.text(length)?;
            }

            opcode::MARK => self.marks.push(self.stack.len()),
            opcode::EMPTY_TUPLE => self.push(Object::Tuple(Vec::new()))?,
            opcode::TUPLE1 => self.tuple(1)?,
            opcode::TUPLE2 => self.tuple(2)?,
            opcode::TUPLE3 => self.tuple(3)?,
            opcode::TUPLE => {
                let items = self.pop_to_mark()?;
                self.push(Object::Tuple(items))?;
            }
            opcode::EMPTY_LIST => self.push(Object::List(Vec::new()))?,
            opcode::APPEND => {
                let item = self.pop()?;
                self.list()?.push(item);
            }
            opcode::APPENDS => {
                let items = self.pop_to_mark()?;
                self.list()?.extend(items);
            }
            opcode::EMPTY_DICT => self.push(Object::Dict(Vec::new()))?,
            opcode::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.dict()?.push((key, value));
            }
            opcode::SETITEMS => {
                let items = self.pop_to_mark()?;
                if items.len() % 2 == 1 {
                    return Err(self.wants("a value for every key"));
                }
                self.dict()?
                    .extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }

            opcode::BINPUT => {
                let index = self.code.byte()?;
                self.put(index.into())?;
            }
            opcode::LONG_BINPUT => {
                let index = u32::from_le_bytes(self.code.array()?);
                self.put(index)?;
            }
            opcode::MEMOIZE => self.put(self.memo.len() as u32)?,
            opcode::BINGET => {
                let index = self.code.byte()?;
                self.recall(index.into())?;
            }
            opcode::LONG_BINGET => {
                let index = u32::from_le_bytes(self.code.array()?);
                self.recall(index)?;
            }

            opcode::GLOBAL => {
                let (module, name) = (self.code.line()?, self.code.line()?);
                self.push(Object::Global(Global::find(module, name)?))?;
            }
            opcode::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (&Object::Str(module), &Object::Str(name)) =
                    (self.objects.get(module), self.objects.get(name))
                else {
                    return Err(self.wants("the names of a module and of something in it"));
                };
                self.push(Object::Global(Global::find(module, name)?))?;
            }
            opcode::BINPERSID => {
                let id = self.pop()?;
                let storage = self.objects.storage(id);
                self.push(
                    storage.ok_or_else(|| self.wants("('storage', type, key, location, count)"))?,
                )?;
            }
            opcode::REDUCE => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let &Object::Global(function) = self.objects.get(function) else {
                    return Err(self.wants("a function to call"));
                };
                let result = self.objects.call(function, arguments)?;
                self.stack.push(result);
            }
            opcode::BUILD => {
                // The state of a module's dictionary is its `_metadata`, versions of layers,
                // which are not used.
                self.pop()?;
                self.dict()?;
            }
            opcode => {
                return Err(Error::Opcode {
                    opcode,
                    at: self.code.instruction(),
                });
            }
        }
        Ok(Execution::Continue)
    }

    fn wants(&self, wanted: &'static str) -> Error {
        Error::Stack {
            at: self.code.instruction(),
            wanted,
        }
    }

    fn text(&mut self, length: u64) -> Result<(), Error> {
        let text = self.code.text(length)?;
        self.push(Object::Str(text))
    }

    fn push(&mut self, object: Object<'p>) -> Result<(), Error> {
        let id = self.objects.add(object)?;
        self.stack.push(id);
        Ok(())
    }

    /// The number of objects on the stack above the last mark.
    fn reachable(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Error> {
        let top = self.stack.last().filter(|_| self.reachable() > 0);
        top.copied()
            .ok_or_else(|| self.wants("something on the stack"))
    }

    fn pop(&mut self) -> Result<Id, Error> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Error> {
        let mark = self
            .marks
            .pop()
            .ok_or_else(|| self.wants("a mark on the stack"))?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, count: usize) -> Result<(), Error> {
        if self.reachable() < count {
            return Err(self.wants("that many objects on the stack"));
        }
        let items = self.stack.split_off(self.stack.len() - count);
        self.push(Object::Tuple(items))
    }

    fn list(&mut self) -> Result<&mut Vec<Id>, Error> {
        let (top, error) = (self.top()?, self.wants("a list"));
        match self.objects.get_mut(top) {
            Object::List(items) => Ok(items),
            _ => Err(error),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Id, Id)>, Error> {
        let (top, error) = (self.top()?, self.wants("a dictionary"));
        match self.objects.get_mut(top) {
            Object::Dict(pairs) => Ok(pairs),
            _ => Err(error),
        }
    }

    fn put(&mut self, index: u32) -> Result<(), Error> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), Error> {
        let at = self.code.instruction();
        let id = *self.memo.get(&index).ok_or(Error::Memo { at, index })?;
        self.stack.push(id);
        Ok(())
    }
}
