//! How the shared vocabulary looks inside a frame: ids as byte strings, names as text, parsed again on arrival.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error as DecodeError,
    encode::{Error as EncodeError, Write},
};

use crate::{EmailAddress, HostPattern, Hostname, InstanceId, LinkId, Name, OperatorId, PersonId, TunnelId, UnixTime};
use crate::{GrantId, Revision, RuleId};

macro_rules! as_bytes {
    ($($id:ident),*) => {$(
        impl<C> Encode<C> for $id {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.bytes(self.as_bytes())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $id {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let at = d.position();
                let bytes = d.bytes()?.try_into().map_err(|_| DecodeError::message("an id has 16 bytes").at(at))?;
                Ok(Self::from_bytes(bytes))
            }
        }
    )*};
}

as_bytes!(InstanceId, LinkId, OperatorId, PersonId, TunnelId);

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.str(self.as_str())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let at = d.position();
                let text = d.str()?;
                let value: Self = text.parse().map_err(|_| DecodeError::message(concat!("not a ", stringify!($name))).at(at))?;
                // One spelling on the wire: what is sent is already canonical.
                if value.as_str() != text {
                    return Err(DecodeError::message(concat!("not a canonical ", stringify!($name))).at(at));
                }
                Ok(value)
            }
        }
    )*};
}

as_text!(EmailAddress, HostPattern, Hostname, Name);

macro_rules! as_number {
    ($($name:ident: $number:ident),*) => {$(
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.$number(self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.$number().map(Self)
            }
        }
    )*};
}

as_number!(GrantId: u32, Revision: u64, RuleId: u32, UnixTime: u64);

/// An address as 4 or 16 bytes, in network order; for `#[cbor(with = "address")]`.
pub(crate) mod address {
    use super::*;

    pub(crate) fn encode<C, W: Write>(
        address: &IpAddr,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match address {
            IpAddr::V4(v4) => e.bytes(&v4.octets())?.ok(),
            IpAddr::V6(v6) => e.bytes(&v6.octets())?.ok(),
        }
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<IpAddr, DecodeError> {
        let at = d.position();
        let bytes = d.bytes()?;
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Ok(Ipv4Addr::from(v4).into());
        }
        let v6 =
            <[u8; 16]>::try_from(bytes).map_err(|_| DecodeError::message("an address has 4 or 16 bytes").at(at))?;
        Ok(Ipv6Addr::from(v6).into())
    }
}

/// A list of addresses, each as in [`address`]; for `#[cbor(with = "addresses", has_nil)]`. An empty one has no key.
#[allow(clippy::ptr_arg, clippy::unnecessary_wraps, reason = "the derive macro passes the field and wants an option")]
pub(crate) mod addresses {
    use super::*;
    use crate::message::ADDRESSES_MAX;

    pub(crate) fn encode<C, W: Write>(
        addresses: &Vec<IpAddr>,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(addresses.len() as u64)?;
        addresses.iter().try_for_each(|one| address::encode(one, e, ctx))
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Vec<IpAddr>, DecodeError> {
        let at = d.position();
        let count = d.array()?.and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| *count <= ADDRESSES_MAX);
        let count = count.ok_or_else(|| DecodeError::message("too many addresses").at(at))?;
        (0..count).map(|_| address::decode(d, ctx)).collect()
    }

    pub(crate) const fn is_nil(addresses: &Vec<IpAddr>) -> bool {
        addresses.is_empty()
    }

    pub(crate) fn nil() -> Option<Vec<IpAddr>> {
        Some(Vec::new())
    }
}

/// Yes, or no key at all; for `#[cbor(with = "flag", has_nil)]`.
pub(crate) mod flag {
    use super::*;

    pub(crate) fn encode<C, W: Write>(flag: &bool, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bool(*flag)?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<bool, DecodeError> {
        d.bool()
    }

    pub(crate) const fn is_nil(flag: &bool) -> bool {
        !*flag
    }

    #[allow(clippy::unnecessary_wraps, reason = "the derive macro wants an option")]
    pub(crate) const fn nil() -> Option<bool> {
        Some(false)
    }
}

/// Defines an enum with stable numbers on the wire. A number that this program does not know becomes the variant marked
/// as the fallback, or is refused where there is none.
macro_rules! coded {
    (@unknown $code:ident, $at:ident, $fallback:ident) => { Ok(Self::$fallback) };
    (@unknown $code:ident, $at:ident) => {
        Err(minicbor::decode::Error::message("unknown code").at($at))
    };
    (
        $(#[$doc:meta])*
        pub enum $name:ident $(else $fallback:ident)? { $($(#[$vdoc:meta])* $variant:ident = $value:literal $text:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            pub const fn code(self) -> u16 {
                match self { $(Self::$variant => $value,)* }
            }

            /// A stable name for logs, pages and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.u16(self.code())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                #[allow(unused_variables, reason = "used only where an unknown code is refused")]
                let at = d.position();
                let code = d.u16()?;
                match code {
                    $($value => Ok(Self::$variant),)*
                    _ => coded!(@unknown code, at $(, $fallback)?),
                }
            }
        }
    };
}
pub(crate) use coded;
