//! The functions by which `torch.save` rebuilds things, and the storages that it names.

use super::heap::{Heap, Id, Stored, Tensor, Value};
use crate::weights::elements::Elements;
use crate::weights::refusal::{Outcome, damaged};
use crate::weights::view::View;

/// Most bytes of the name of a class, a function or a storage.
pub(super) const LONGEST: usize = 255;

/// Functions that call functions: how deep.
const DEEPEST: usize = 4;

/// Most sides of a tensor, as in PyTorch.
const SIDES: usize = 64;

/// Result of a call.
pub(super) enum Made {
    New(Value),
    /// One of the values that it was given.
    Same(Id),
}

/// What is named by a persistent identifier: a storage, or (of a whole model) a class with its source.
pub(super) fn persistent(heap: &Heap, id: Id) -> Outcome<Value> {
    let parts = heap.elements(id).unwrap_or_default();
    match parts.first().and_then(|kind| heap.text(*kind)) {
        Some("storage") => {}
        Some("module") => {
            return Ok(match parts.get(1).map(|class| heap.get(*class)) {
                Some(Value::Name(class)) => Value::Name(class.clone()),
                _ => Value::Object("a class".to_owned(), Vec::new()),
            });
        }
        _ => return damaged("something outside the pickle is named that is no storage"),
    }
    let (Some(&class), Some(&key), Some(&count)) = (parts.get(1), parts.get(2), parts.get(4))
    else {
        return damaged("a storage is named by too little");
    };
    let key = match heap.get(key) {
        Value::Text(key) => key.clone(),
        Value::Int(key) => key.to_string(),
        _ => return damaged("the name of a storage is no text"),
    };
    if key.len() > LONGEST {
        return damaged(format!("the name of a storage has {} bytes", key.len()));
    }
    let (Value::Name(class), Some(count)) = (heap.get(class), heap.count(count)) else {
        return damaged(format!("storage `{key}` has no class or no length"));
    };
    let part = parts.get(5).and_then(|part| heap.elements(*part));
    let offset = part
        .and_then(|part| part.get(1))
        .and_then(|at| heap.count(*at));
    Ok(Value::Stored(Stored {
        key,
        class: class.clone(),
        count,
        offset: offset.unwrap_or(0),
    }))
}

/// What a function returns, where it is known; otherwise an object with its name.
pub(super) fn call(heap: &Heap, function: Id, arguments: Id) -> Outcome<Made> {
    call_within(heap, function, arguments, 0)
}

fn call_within(heap: &Heap, function: Id, arguments: Id, depth: usize) -> Outcome<Made> {
    let (Value::Name(name) | Value::Object(name, _)) = heap.get(function) else {
        return damaged(format!("it calls {}", heap.kind(function)));
    };
    let object = || Value::Object(name.clone(), Vec::new());
    let given = heap.elements(arguments).unwrap_or_default();
    let value = match (name.as_str(), given) {
        ("collections.OrderedDict" | "builtins.dict" | "__builtin__.dict", given) => {
            items(heap, given.first().copied())
        }
        ("collections.defaultdict", given) => items(heap, given.get(1).copied()),
        ("torch._utils._rebuild_tensor", &[storage, offset, shape, strides]) => {
            Some(tensor(heap, storage, None, [offset, shape, strides])?)
        }
        (
            "torch._utils._rebuild_tensor_v2",
            &[storage, offset, shape, strides, _, _, ref rest @ ..],
        ) => match rest.first().and_then(|bits| lazy(heap, *bits)) {
            Some(what) => Some(Value::Object(format!("{name} ({what})"), Vec::new())),
            None => Some(tensor(heap, storage, None, [offset, shape, strides])?),
        },
        (
            "torch._utils._rebuild_tensor_v3",
            &[storage, offset, shape, strides, _, _, dtype, ..],
        ) => Some(tensor(
            heap,
            storage,
            Some(dtype),
            [offset, shape, strides],
        )?),
        (
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch.Size",
            &[inner, ..],
        ) => return Ok(Made::Same(inner)),
        // A tensor of a class of its own.
        ("torch._tensor._rebuild_from_type_v2", &[function, _, arguments, _])
            if depth < DEEPEST =>
        {
            return call_within(heap, function, arguments, depth + 1);
        }
        _ => None,
    };
    Ok(Made::New(value.unwrap_or_else(object)))
}

/// A dictionary with the items that it is given: those of another, or pairs, as Python 2 writes them.
fn items(heap: &Heap, given: Option<Id>) -> Option<Value> {
    let Some(given) = given else {
        return Some(Value::Dict(Vec::new()));
    };
    if let Some(items) = heap.items(given) {
        return Some(Value::Dict(items.to_vec()));
    }
    let pair = |id: &Id| match heap.elements(*id) {
        Some(&[key, value]) => Some((key, value)),
        _ => None,
    };
    let pairs = heap.elements(given)?.iter().map(pair);
    pairs.collect::<Option<_>>().map(Value::Dict)
}

/// What a tensor still has to be done to before its elements mean what they say.
fn lazy(heap: &Heap, bits: Id) -> Option<&'static str> {
    let set = |name: &str| {
        let mut items = heap.items(bits).unwrap_or_default().iter();
        items.any(|(key, value)| {
            heap.text(*key) == Some(name) && *heap.get(*value) == Value::Bool(true)
        })
    };
    if set("neg") {
        Some("a tensor whose sign is yet to be turned")
    } else if set("conj") {
        Some("a tensor that is yet to be conjugated")
    } else {
        None
    }
}

fn tensor(
    heap: &Heap,
    storage: Id,
    dtype: Option<Id>,
    [offset, shape, strides]: [Id; 3],
) -> Outcome<Value> {
    let stored = match heap.get(storage) {
        Value::Stored(stored) => stored,
        // A plain pickle of tensors holds each storage as a file of torch.save that a function would have to read.
        Value::Object(made_by, _) => {
            let class = format!("torch.Tensor (elements from `{made_by}`)");
            return Ok(Value::Object(class, Vec::new()));
        }
        _ => {
            return damaged(format!(
                "a tensor is of {} instead of a storage",
                heap.kind(storage)
            ));
        }
    };
    let (Some(offset), Some(shape), Some(strides)) =
        (heap.count(offset), heap.counts(shape), heap.counts(strides))
    else {
        return damaged("a tensor has no shape, strides or first element");
    };
    if shape.len() > SIDES || shape.len() != strides.len() {
        return damaged(format!(
            "a tensor has {} sides and {} strides",
            shape.len(),
            strides.len()
        ));
    }
    let elements = match dtype.map(|dtype| heap.get(dtype)) {
        None => stored.elements().ok_or(&stored.class),
        Some(Value::Name(name)) => Elements::of_dtype(name).ok_or(name),
        Some(_) => return damaged("the type of a tensor's elements is no name"),
    };
    Ok(match elements {
        Ok(elements) => Value::Tensor(Tensor {
            key: stored.key.clone(),
            view: View {
                elements,
                offset: stored.offset.saturating_add(offset),
                shape,
                strides,
            },
        }),
        Err(name) => Value::Object(format!("torch.Tensor (elements of {name})"), Vec::new()),
    })
}
