//! [`Digest`] (a full key), [`Prefix`] (the beginning of one) and what can be wrong with the digits of either.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Bytes of a digest.
const BYTES: usize = 32;
/// Hexadecimal digits of a digest.
const DIGITS: usize = 2 * BYTES;

/// The key of a value: 32 bytes, written as 64 hexadecimal digits. BLAKE3 of the value unless it is given.
///
/// ```
/// use perkey::storage::Digest;
///
/// let digest = Digest::of(b"apple");
/// let digits = digest.to_string();
/// assert_eq!(digits.len(), 64);
/// assert_eq!(digits.parse(), Ok(digest));
/// assert_eq!(digits.to_uppercase().parse(), Ok(digest)); // the same key
/// assert_eq!(format!("{digest:.8}"), digits[..8]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "String", try_from = "String"))]
pub struct Digest([u8; BYTES]);

impl Digest {
    /// BLAKE3 of `value`.
    ///
    /// ```
    /// use perkey::storage::Digest;
    ///
    /// assert_eq!(Digest::of("apple"), Digest::of(b"apple"));
    /// assert_ne!(Digest::of("apple"), Digest::of("pear"));
    /// ```
    pub fn of(value: impl AsRef<[u8]>) -> Self {
        Self(blake3::hash(value.as_ref()).into())
    }

    /// A given one.
    ///
    /// ```
    /// use perkey::storage::Digest;
    ///
    /// assert_eq!(Digest::new([0xab; 32]).to_string(), "ab".repeat(32));
    /// ```
    pub const fn new(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    ///
    /// ```
    /// use perkey::storage::Digest;
    ///
    /// assert_eq!(Digest::new([7; 32]).as_bytes(), &[7; 32]);
    /// ```
    pub const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// The first `digits` digits.
    ///
    /// ```
    /// use perkey::storage::Digest;
    ///
    /// assert_eq!(Digest::new([0xab; 32]).prefix(5).unwrap().to_string(), "ababa");
    /// ```
    ///
    /// # Errors
    /// If these are fewer than [`Prefix::LEAST`] or more than there are.
    pub fn prefix(&self, digits: usize) -> Result<Prefix, ParseError> {
        if digits < Prefix::LEAST {
            return Err(ParseError::TooShort { digits });
        }
        if digits > DIGITS {
            return Err(ParseError::TooLong { digits });
        }
        Ok(self.cut(digits))
    }

    /// The first `digits` digits; at most 64.
    pub(crate) fn cut(&self, digits: usize) -> Prefix {
        Prefix::cut(self, digits)
    }

    /// How many digits the two have in common before they differ.
    pub(crate) fn common(&self, other: &Self) -> usize {
        match (0..BYTES).find(|&i| self.0[i] != other.0[i]) {
            None => DIGITS,
            Some(i) => 2 * i + usize::from(self.0[i] >> 4 == other.0[i] >> 4),
        }
    }
}

impl From<[u8; BYTES]> for Digest {
    fn from(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (bytes, digits) = parse(text)?;
        if digits < DIGITS {
            return Err(ParseError::TooShort { digits });
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl TryFrom<&str> for Digest {
    type Error = ParseError;

    fn try_from(text: &str) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first digits of a key: at least [`LEAST`](Self::LEAST), except for [`ALL`](Self::ALL).
///
/// ```
/// use perkey::storage::{Digest, ParseError, Prefix};
///
/// let prefix: Prefix = "abcde".parse().unwrap();
/// assert!(prefix.matches(&format!("abcde{}", "0".repeat(59)).parse().unwrap()));
/// assert!(!prefix.matches(&Digest::new([0xab; 32])));
/// assert_eq!("abc".parse::<Prefix>(), Err(ParseError::TooShort { digits: 3 }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The digits, and zeros behind them.
    bytes: [u8; BYTES],
    digits: u8,
}

impl Prefix {
    /// How many digits a prefix has at least.
    pub const LEAST: usize = 4;

    /// No digits: matches every key. For listing; it stands for no key, not even where there is only one.
    pub const ALL: Self = Self {
        bytes: [0; BYTES],
        digits: 0,
    };

    /// The first digits of a key, at most 64.
    fn cut(digest: &Digest, digits: usize) -> Self {
        let mut bytes = digest.0;
        let whole = digits / 2;
        if let Some(half) = bytes.get_mut(whole) {
            *half = if digits % 2 == 1 { *half & 0xf0 } else { 0 };
        }
        bytes.iter_mut().skip(whole + 1).for_each(|b| *b = 0);
        #[allow(clippy::cast_possible_truncation)] // at most 64
        let digits = digits as u8;
        Self { bytes, digits }
    }

    /// How many digits there are.
    ///
    /// ```
    /// use perkey::storage::Prefix;
    ///
    /// assert_eq!("abcde".parse::<Prefix>().unwrap().digits(), 5);
    /// ```
    pub const fn digits(&self) -> usize {
        self.digits as usize
    }

    /// Does the key begin with these digits?
    ///
    /// ```
    /// use perkey::storage::{Digest, Prefix};
    ///
    /// let key = Digest::of("apple");
    /// assert!(key.prefix(4).unwrap().matches(&key) && Prefix::ALL.matches(&key));
    /// ```
    pub fn matches(&self, key: &Digest) -> bool {
        Self::cut(key, self.digits()).bytes == self.bytes
    }

    /// From the first key that matches to the last one: what a sorted store looks through.
    ///
    /// ```
    /// use perkey::storage::{Digest, Prefix};
    ///
    /// let range = "abcd".parse::<Prefix>().unwrap().range();
    /// assert!(range.start().to_string().starts_with("abcd0000"));
    /// assert!(range.end().to_string().starts_with("abcdffff"));
    /// ```
    pub fn range(&self) -> RangeInclusive<Digest> {
        let mut last = self.bytes;
        let whole = self.digits() / 2;
        for (i, byte) in last.iter_mut().enumerate().skip(whole) {
            *byte |= if i == whole && self.digits % 2 == 1 {
                0x0f
            } else {
                0xff
            };
        }
        Digest(self.bytes)..=Digest(last)
    }

    /// The key, if all digits are there.
    pub(crate) fn whole(&self) -> Option<Digest> {
        (self.digits() == DIGITS).then_some(Digest(self.bytes))
    }
}

impl From<Digest> for Prefix {
    /// All its digits.
    fn from(digest: Digest) -> Self {
        Self::cut(&digest, DIGITS)
    }
}

impl FromStr for Prefix {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (bytes, digits) = parse(text)?;
        if digits < Self::LEAST {
            return Err(ParseError::TooShort { digits });
        }
        Ok(Self::cut(&Digest(bytes), digits))
    }
}

impl TryFrom<&str> for Prefix {
    type Error = ParseError;

    fn try_from(text: &str) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = Digest(self.bytes).to_string();
        f.pad(&digits[..self.digits()])
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with the digits of a key.
///
/// ```
/// use perkey::storage::{Digest, ParseError};
///
/// let wrong = "12x4".parse::<Digest>().unwrap_err();
/// assert_eq!(wrong, ParseError::NotADigit { found: 'x', at: 2 });
/// assert_eq!(wrong.to_string(), "'x' at position 2 is no hexadecimal digit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A character that is no hexadecimal digit.
    #[error("{found:?} at position {at} is no hexadecimal digit")]
    NotADigit {
        /// The first one.
        found: char,
        /// How many characters are before it.
        at: usize,
    },
    /// Fewer digits than the 64 of a key, or the four of a prefix.
    #[error(
        "{digits} digits are too few: a key has {DIGITS}, a prefix at least {}",
        Prefix::LEAST
    )]
    TooShort {
        /// How many there are.
        digits: usize,
    },
    /// More digits than a key has.
    #[error("{digits} digits are too many: a key has {DIGITS}")]
    TooLong {
        /// How many there are.
        digits: usize,
    },
}

/// The digits, zeros behind them, and how many they are.
fn parse(text: &str) -> Result<([u8; BYTES], usize), ParseError> {
    let mut bytes = [0; BYTES];
    let mut digits = 0;
    for found in text.chars() {
        let at = digits;
        let value = found
            .to_digit(16)
            .ok_or(ParseError::NotADigit { found, at })?;
        if let Some(byte) = bytes.get_mut(at / 2) {
            #[allow(clippy::cast_possible_truncation)] // less than 16
            let value = value as u8;
            *byte |= if at % 2 == 0 { value << 4 } else { value };
        }
        digits += 1;
    }
    if digits > DIGITS {
        return Err(ParseError::TooLong { digits });
    }
    Ok((bytes, digits))
}

#[cfg(all(test, not(any(perkey_loom, perkey_shuttle))))]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        format!("{text:0<64}").parse().unwrap()
    }

    #[test]
    fn the_hash_is_blake3() {
        let known = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"; // of nothing
        assert_eq!(Digest::of("").to_string(), known);
    }

    #[test]
    fn digits_in_common() {
        assert_eq!(digest("abcd").common(&digest("abce")), 3);
        assert_eq!(digest("abcd").common(&digest("abdd")), 2);
        assert_eq!(digest("abcd").common(&digest("bbcd")), 0);
        assert_eq!(digest("abcd").common(&digest("abcd")), 64);
    }

    #[test]
    fn a_prefix_matches_just_its_range() {
        for digits in 4..=64 {
            let key = Digest::of("apple");
            let prefix = key.prefix(digits).unwrap();
            assert_eq!(prefix.digits(), digits);
            assert_eq!(prefix.to_string(), key.to_string()[..digits]);
            assert_eq!(prefix.to_string().parse(), Ok(prefix));
            let range = prefix.range();
            assert!(range.contains(&key));
            assert!(prefix.matches(range.start()) && prefix.matches(range.end()));
            assert_eq!(prefix.whole(), (digits == 64).then_some(key));
        }
        assert_eq!(Prefix::ALL.range(), Digest([0; 32])..=Digest([255; 32]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let parse = |text: &str| text.parse::<Digest>().unwrap_err();
        assert_eq!(parse(""), ParseError::TooShort { digits: 0 });
        assert_eq!(parse(&"a".repeat(63)), ParseError::TooShort { digits: 63 });
        assert_eq!(parse(&"a".repeat(65)), ParseError::TooLong { digits: 65 });
        assert_eq!(parse("aé"), ParseError::NotADigit { found: 'é', at: 1 });
        assert_eq!(parse(" a"), ParseError::NotADigit { found: ' ', at: 0 });
        assert_eq!(
            Digest::of("").prefix(65),
            Err(ParseError::TooLong { digits: 65 })
        );
        assert_eq!(
            Digest::of("").prefix(3),
            Err(ParseError::TooShort { digits: 3 })
        );
    }
}
