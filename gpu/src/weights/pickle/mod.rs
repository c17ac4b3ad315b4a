//! Python's pickles as `torch.save` writes them, read without running anything.
//!
//! A pickle is a program for a small stack machine, and among its instructions are "import this name" and "call it". Here a name is
//! only a name: the few functions that `torch.save` lets rebuild tensors and dictionaries are done by ourselves, and whatever
//! another one would return is an [`Object`](Value::Object) of which only the name is known.
//!
//! | module | holds |
//! |---|---|
//! | [`heap`] | the values, which may be held in several places |
//! | [`machine`] | the instructions of protocols 2 to 5 |
//! | [`opcodes`] | their names, for what is refused |
//! | [`rebuild`] | the functions that are known |

mod heap;
mod machine;
mod opcodes;
mod rebuild;

pub(super) use heap::{Heap, Id, Tensor, Value};
pub(super) use machine::{Loaded, load};
