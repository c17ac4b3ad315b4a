//! The names of instructions that are not carried out.

/// The name of an instruction and the protocol that it is of, if it is one at all.
pub(super) fn name(opcode: u8) -> Option<(&'static str, u8)> {
    Some(match opcode {
        b'I' => ("INT", 0),
        b'L' => ("LONG", 0),
        b'F' => ("FLOAT", 0),
        b'S' => ("STRING", 0),
        b'V' => ("UNICODE", 0),
        b'P' => ("PERSID", 0),
        b'd' => ("DICT", 0),
        b'l' => ("LIST", 0),
        b'g' => ("GET", 0),
        b'p' => ("PUT", 0),
        b'i' => ("INST", 0),
        b'o' => ("OBJ", 1),
        0x82 => ("EXT1", 2),
        0x83 => ("EXT2", 2),
        0x84 => ("EXT4", 2),
        0x97 => ("NEXT_BUFFER", 5),
        0x98 => ("READONLY_BUFFER", 5),
        _ => return None,
    })
}
