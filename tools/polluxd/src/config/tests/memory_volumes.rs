//! Keys of memory volumes.

use super::{fault, read};

#[test]
fn reads_of_a_memory_volume_see_whole_blocks_unless_the_file_says_otherwise() {
    let whole = |line: &str| {
        let volume = "[[volume]]\nname = \"a\"\nkind = \"memory\"\nsize = \"1GiB\"\n";
        read(&format!("{volume}{line}")).unwrap().volumes[0].whole_blocks
    };
    assert!(whole(""));
    assert!(whole("whole_blocks = true\n"));
    assert!(!whole("whole_blocks = false\n"));
}

#[test]
fn volumes_of_other_kinds_have_no_key_for_whole_blocks() {
    let volume = |rest: &str| fault(&format!("[[volume]]\nname = \"a\"\n{rest}"));
    assert_eq!(
        volume("kind = \"file\"\nwhole_blocks = true\n"),
        "4:16: volume \"a\".whole_blocks: a file volume has no such key; remove it, it is for \
         memory volumes only"
    );
    assert_eq!(
        volume("kind = \"null\"\nsize = \"1GiB\"\nwhole_blocks = false\n"),
        "5:16: volume \"a\".whole_blocks: a null volume has no such key; remove it, it is for \
         memory volumes only"
    );
}
