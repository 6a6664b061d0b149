use std::fs::File;
use std::io::Write as _;

use super::*;

#[test]
fn digests_are_those_of_the_published_vectors() {
    let digests = digest_reader(&b"abc"[..], |_| ()).unwrap();
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digests.sha256.to_string(), expected);
    assert_eq!(digests.sha256, Digest::sha256(b"abc"));
    let expected = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    assert_eq!(digests.blake3.to_string(), expected);
    assert_eq!(digests.size, 3);
}

#[test]
fn a_file_is_read_whole_and_progress_ends_at_its_size() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|number| number.to_le_bytes()[1]).collect();
    file.write_all(&bytes).unwrap();
    let mut seen = Vec::new();
    let digests = digest_reader(File::open(file.path()).unwrap(), |at| seen.push(at)).unwrap();
    assert_eq!(digests.sha256, Digest::sha256(&bytes));
    assert_eq!(digests.blake3, Digest(blake3::hash(&bytes).into()));
    assert_eq!(digests.size, 1_000_003);
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&1_000_003));
}

struct Stubborn(Vec<io::Result<&'static [u8]>>);

impl Read for Stubborn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.pop().unwrap_or(Ok(b""))?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

#[test]
fn an_interrupted_read_is_repeated_and_a_failed_one_reported() {
    let interrupted = || Err(io::Error::from(io::ErrorKind::Interrupted));
    let digests =
        digest_reader(Stubborn(vec![Ok(b"c"), interrupted(), Ok(b"ab")]), |_| ()).unwrap();
    assert_eq!(digests.sha256, Digest::sha256(b"abc"));
    let failed = Err(io::Error::from(io::ErrorKind::InvalidData));
    let error = digest_reader(Stubborn(vec![failed, Ok(b"ab")]), |_| ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_digest_has_one_spelling() {
    let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
    for wrong in
        ["", &"b".repeat(63), &format!("{text}0"), &text.to_uppercase(), &text.replace('b', "x")]
    {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
    }
}
