//! `keys`: what is made of text that may be the digits of a key, against a reader that looks at one character at a time.
//!
//! Parsing (full keys, prefixes, either), what is said of wrong digits, printing, order, ranges; and what a store of three keys
//! makes of a prefix.

use arbitrary::{Result, Unstructured};
use perkey::storage::{Digest, Key, ParseError, Prefix, ToKey};

/// Digits of a key.
const DIGITS: usize = 64;

/// Runs one input.
///
/// # Panics
/// If the library and the reader differ.
pub fn run(data: &[u8]) {
    // An input that ends early is no input.
    let _ = attempt(&mut Unstructured::new(data));
}

fn attempt(u: &mut Unstructured<'_>) -> Result<()> {
    let text = text(u)?;
    parse(&text);
    let digest = Digest::new(u.arbitrary()?);
    let other = near(&digest, u)?;
    print(&digest);
    compare(&digest, &other);
    for _ in 0..3 {
        cut(&digest, &other, u.int_in_range(0..=DIGITS + 1)?);
    }
    #[cfg(not(any(perkey_loom, perkey_shuttle)))]
    {
        let third = near(&other, u)?;
        stored(&[digest, other, third], u.arbitrary()?);
    }
    Ok(())
}

/// Any text, or digits of any number and case with another character here and there.
fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let first: u8 = u.arbitrary()?;
    let length = usize::from(first % 80);
    if first >= 240 {
        let bytes = u.bytes(length.min(u.len()))?;
        return Ok(String::from_utf8_lossy(bytes).into_owned());
    }
    let (value, case): (u8, u8) = (u.arbitrary()?, u.arbitrary()?);
    let mut text: Vec<char> = (0..length)
        .map(|i| {
            let digit = usize::from(value).wrapping_mul(i + 1) % 16;
            let digit = char::from(b"0123456789abcdef"[digit]);
            if case >> (i % 8) & 1 == 1 {
                digit.to_ascii_uppercase()
            } else {
                digit
            }
        })
        .collect();
    for _ in 0..u.int_in_range(0..=3)? {
        let (at, new): (u8, char) = (u.arbitrary()?, u.arbitrary()?);
        if let Some(place) = text.get_mut(usize::from(at)) {
            *place = new;
        }
    }
    Ok(text.into_iter().collect())
}

/// A digest with some digits in common with another one.
fn near(digest: &Digest, u: &mut Unstructured<'_>) -> Result<Digest> {
    let mut bytes = *digest.as_bytes();
    let (at, new): (u8, u8) = (u.arbitrary()?, u.arbitrary()?);
    bytes[usize::from(at) % bytes.len()] ^= new;
    Ok(Digest::new(bytes))
}

/// What is wrong with the text, if it is to have so many digits at least.
fn wrong(text: &str, least: usize) -> Option<ParseError> {
    let digits = text.chars().count();
    let is_digit = |c: &char| "0123456789abcdefABCDEF".contains(*c);
    if let Some((at, found)) = text.chars().enumerate().find(|(_, c)| !is_digit(c)) {
        Some(ParseError::NotADigit { found, at })
    } else if digits > DIGITS {
        Some(ParseError::TooLong { digits })
    } else if digits < least {
        Some(ParseError::TooShort { digits })
    } else {
        None
    }
}

fn parse(text: &str) {
    let lower = text.to_ascii_lowercase();
    let digest = text.parse::<Digest>();
    match wrong(text, DIGITS) {
        Some(e) => assert_eq!(digest, Err(e), "{text:?}: {e}"),
        None => assert_eq!(digest.map(String::from).as_ref(), Ok(&lower)),
    }
    assert_eq!(Digest::try_from(text), digest);
    assert_eq!(Digest::try_from(text.to_owned()), digest);
    let prefix = text.parse::<Prefix>();
    if let Some(e) = wrong(text, Prefix::LEAST) {
        assert_eq!(prefix, Err(e), "{text:?}: {e}");
        let bad = text.to_key().expect_err("no key");
        assert_eq!((&*bad.key, bad.why), (text, e));
        return;
    }
    let prefix = prefix.expect("digits");
    assert_eq!(prefix.to_string(), lower);
    assert_eq!(prefix.digits(), lower.len());
    let key = text.to_key().expect("digits");
    assert_eq!(key.to_string(), lower);
    assert_eq!(matches!(key, Key::Full(_)), lower.len() == DIGITS);
    assert_eq!(lower.to_key().as_ref(), Ok(&key), "one key, one name");
    assert_eq!((key.to_key(), prefix.to_key()), (Ok(key), Ok(key)));
}

fn print(digest: &Digest) {
    let text = digest.to_string();
    let bytes: Vec<String> = digest
        .as_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let expected = bytes.concat();
    assert_eq!(
        (&text, format!("{digest:?}")),
        (&expected, expected.clone())
    );
    assert_eq!(text.parse(), Ok(*digest));
    assert_eq!(text.to_uppercase().parse(), Ok(*digest));
    assert_eq!(Digest::from(*digest.as_bytes()), *digest);
    let all = Prefix::from(*digest);
    assert_eq!((all.to_string(), all.digits()), (text, DIGITS));
    assert_eq!(all.range(), *digest..=*digest);
}

fn compare(a: &Digest, b: &Digest) {
    assert_eq!(a.cmp(b), a.to_string().cmp(&b.to_string()));
    assert_eq!(a == b, a.to_string() == b.to_string());
}

fn cut(digest: &Digest, other: &Digest, digits: usize) {
    let prefix = match digest.prefix(digits) {
        Ok(prefix) => prefix,
        Err(e) => {
            let short = ParseError::TooShort { digits };
            let long = ParseError::TooLong { digits };
            let expected = if digits < Prefix::LEAST { short } else { long };
            assert_eq!(e, expected);
            assert!(!(Prefix::LEAST..=DIGITS).contains(&digits));
            return;
        }
    };
    let text = &digest.to_string()[..digits];
    assert_eq!((&*prefix.to_string(), prefix.digits()), (text, digits));
    assert_eq!(text.parse(), Ok(prefix));
    assert!(prefix.matches(digest));
    let matches = other.to_string().starts_with(text);
    assert_eq!(prefix.matches(other), matches, "{prefix} {other}");
    let range = prefix.range();
    assert_eq!(range.contains(other), matches, "{prefix} {other}");
    let edge = |fill: &str| format!("{text}{}", fill.repeat(DIGITS - digits));
    assert_eq!(range.start().to_string(), edge("0"));
    assert_eq!(range.end().to_string(), edge("f"));
    // As text in a line: cut and padded like any other.
    assert_eq!(format!("{prefix:>66}"), format!("{text:>66}"));
    assert_eq!(format!("{prefix:.3}"), text[..3]);
}

/// What a store makes of the first digits of its keys.
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
fn stored(keys: &[Digest; 3], digits: u8) {
    use perkey::storage::{Error, Memory, Storage};
    use std::collections::BTreeSet;

    let store = Memory::new();
    for key in keys {
        store.save_as(key, key.as_bytes()).expect("room for three");
    }
    let all: BTreeSet<Digest> = keys.iter().copied().collect();
    assert!(store.list().expect("a listing").iter().eq(&all), "in order");
    for key in keys {
        let text = key.to_string();
        let digits = Prefix::LEAST + usize::from(digits) % (DIGITS + 1 - Prefix::LEAST);
        let short = &text[..digits];
        let like: Vec<Digest> = all
            .iter()
            .filter(|k| k.to_string().starts_with(short))
            .copied()
            .collect();
        match store.expand(short) {
            Ok(whole) => assert_eq!(like, [whole]),
            Err(Error::Ambiguous {
                candidates,
                digits: apart,
                ..
            }) => {
                assert_eq!(candidates, like);
                let cut: BTreeSet<String> = like
                    .iter()
                    .map(|k| k.to_string()[..apart].to_owned())
                    .collect();
                assert_eq!(cut.len(), like.len(), "{apart} digits tell {like:?} apart");
                let less: BTreeSet<String> = like
                    .iter()
                    .map(|k| k.to_string()[..apart - 1].to_owned())
                    .collect();
                assert!(less.len() < like.len(), "fewer than {apart} do");
            }
            Err(e) => panic!("{short}: {e}"),
        }
        let least = store.shrink(key).expect("it is there").digits();
        let alone = |n: usize| {
            all.iter()
                .all(|k| k == key || !k.to_string().starts_with(&text[..n]))
        };
        assert!(alone(least), "{least} digits are {text}'s own");
        assert!(
            least == Prefix::LEAST || !alone(least - 1),
            "{least} digits are too many"
        );
    }
}
