//! Commands of strings as bits.

use crate::harness::Running;

#[test]
fn bits_are_set_read_counted_and_found() {
    let server = Running::start();
    let offset = "-ERR bit offset is not an integer or out of range";
    server.client().check(&[
        ("SETBIT k 7 1", ":0"),
        ("EXPIRE k 100", ":1"),
        ("SETBIT k 7 1", ":1"),
        ("SETBIT k 20 0", ":0"),
        ("STRLEN k", ":3"),
        ("TTL k", ":100"),
        ("GET k", r#""\x01\x00\x00""#),
        ("GETBIT k 7", ":1"),
        ("GETBIT k 1000", ":0"),
        ("GETBIT none 0", ":0"),
        ("SETBIT k -1 1", offset),
        ("SETBIT k 4294967296 1", offset),
        ("SETBIT k x 1", offset),
        ("SETBIT k 0 2", "-ERR bit is not an integer or out of range"),
        ("SET k foobar", "+OK"),
        ("BITCOUNT k", ":26"),
        ("BITCOUNT k 0 0", ":4"),
        ("BITCOUNT k 1", ":22"),
        ("BITCOUNT k -2 -1 BYTE", ":7"),
        ("BITCOUNT k 5 30 BIT", ":17"),
        ("BITCOUNT k 3 1", ":0"),
        ("BITCOUNT none 0 -1", ":0"),
        ("BITCOUNT k 0 1 NONSENSE", "-ERR syntax error"),
        ("BITCOUNT k 0 1 BIT BIT", "-ERR syntax error"),
        ("SET k \"\\xff\\xf0\\x00\"", "+OK"),
        ("BITPOS k 0", ":12"),
        ("BITPOS k 1 2", ":-1"),
        ("BITPOS k 0 13 15 BIT", ":13"),
        ("BITPOS k 1 -16 -1 BIT", ":8"),
        ("SET k \"\\xff\\xff\"", "+OK"),
        ("BITPOS k 0", ":16"),
        ("BITPOS k 0 0 -1", ":-1"),
        ("BITPOS k 0 5", ":-1"),
        ("BITPOS none 0 5 6", ":0"),
        ("BITPOS none 1", ":-1"),
        ("BITPOS k 2", "-ERR The bit argument must be 1 or 0."),
    ]);
}

#[test]
fn strings_are_combined_bit_by_bit() {
    let server = Running::start();
    server.client().check(&[
        ("MSET a \"\\xf0\\xff\" b \"\\x3c\"", "+OK"),
        ("BITOP AND d a b", ":2"),
        ("GET d", r#""0\x00""#),
        ("BITOP or d a b", ":2"),
        ("GET d", r#""\xfc\xff""#),
        ("BITOP XOR d a b", ":2"),
        ("GET d", r#""\xcc\xff""#),
        ("BITOP NOT d b", ":1"),
        ("GET d", r#""\xc3""#),
        ("BITOP DIFF d a b", ":2"),
        ("GET d", r#""\xc0\xff""#),
        ("BITOP DIFF1 d a b", ":2"),
        ("GET d", r#""\x0c\x00""#),
        ("BITOP ANDOR d a b", ":2"),
        ("GET d", r#""0\x00""#),
        ("BITOP ONE d a b b", ":2"),
        ("GET d", r#""\xc0\xff""#),
        ("EXPIRE d 100", ":1"),
        ("BITOP OR d none", ":0"),
        ("EXISTS d", ":0"),
        (
            "BITOP NOT d a b",
            "-ERR BITOP NOT must be called with a single source key.",
        ),
        (
            "BITOP diff d a",
            "-ERR BITOP DIFF must be called with at least two source keys.",
        ),
        ("BITOP NAND d a b", "-ERR syntax error"),
    ]);
}

#[test]
fn fields_of_bits_are_read_set_and_counted_up() {
    let server = Running::start();
    let encoding = "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                    supported but i64 is.";
    server.client().check(&[
        ("BITFIELD k", "[]"),
        ("BITFIELD k GET u8 0 GET i4 #3", "[:0, :0]"),
        ("EXISTS k", ":0"),
        (
            "BITFIELD k SET u8 #1 200 GET u8 8 GET i8 8",
            "[:0, :200, :-56]",
        ),
        ("EXPIRE k 100", ":1"),
        ("BITFIELD k INCRBY u8 8 100", "[:44]"),
        ("BITFIELD k OVERFLOW SAT INCRBY u8 8 300", "[:255]"),
        (
            "BITFIELD k OVERFLOW FAIL INCRBY u8 8 1 INCRBY u8 8 -1",
            "[nil, :254]",
        ),
        ("BITFIELD k INCRBY i5 100 1", "[:1]"),
        ("STRLEN k", ":14"),
        ("TTL k", ":100"),
        ("BITFIELD_RO k GET u4 8", "[:15]"),
        (
            "BITFIELD_RO k SET u4 8 1",
            "-ERR BITFIELD_RO only supports the GET subcommand",
        ),
        ("BITFIELD k GET u64 0", encoding),
        (
            "BITFIELD k GET u8 -1",
            "-ERR bit offset is not an integer or out of range",
        ),
        (
            "BITFIELD k OVERFLOW NONE",
            "-ERR Invalid OVERFLOW type specified",
        ),
        ("BITFIELD k GET u8", "-ERR syntax error"),
        (
            "BITFIELD k SET u8 0 x",
            "-ERR value is not an integer or out of range",
        ),
    ]);
}
