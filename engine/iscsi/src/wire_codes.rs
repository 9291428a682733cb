//! Enums over the code points of a wire field.

/// Declares an enum over an integer field. The variant after the semicolon carries every value
/// that the standard reserves or leaves to vendors, so that decoding never fails and encoding
/// gives back what was read.
macro_rules! wire_codes {
    (
        $(#[$outer:meta])*
        $name:ident: $int:ty {
            $($(#[$inner:meta])* $variant:ident = $code:literal,)+
            ;
            $(#[$rest_doc:meta])* $rest:ident
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$inner])* $variant,)+
            $(#[$rest_doc])* $rest($int),
        }

        impl $name {
            /// The meaning of a value of the field.
            pub const fn from_code(code: $int) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    other => Self::$rest(other),
                }
            }

            /// The value of the field.
            pub const fn code(self) -> $int {
                match self {
                    $(Self::$variant => $code,)+
                    Self::$rest(code) => code,
                }
            }
        }
    };
}

pub(crate) use wire_codes;
