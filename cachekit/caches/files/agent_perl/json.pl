# The same program as ../agent, for nodes that have perl and no python3: its files are joined in the
# order that ../call.py names. Needs no more than Debian's perl-base, so no JSON either way: %JOB
# stands before this text, and the answer is written by hand.
use strict;
use warnings;
use Errno qw(EEXIST EINVAL EISDIR ELOOP ENODATA ENOENT ENOSYS ENOTDIR ENOTEMPTY EOPNOTSUPP EPERM
    EWOULDBLOCK EXDEV);
use Fcntl qw(:DEFAULT :flock :mode);
use POSIX ();

our %JOB;

# Strings that look like numbers are written as numbers, unless they come as references.
sub json {
    my $value = shift;
    return "null" unless defined $value;
    return quoted($$value) if ref $value eq "SCALAR";
    return "[" . join(",", map { json($_) } @$value) . "]" if ref $value eq "ARRAY";
    return "{" . join(",", map { quoted($_) . ":" . json($value->{$_}) } sort keys %$value) . "}"
        if ref $value eq "HASH";
    return $value =~ /\A-?(?:0|[1-9]\d*)(?:\.\d+)?\z/ ? $value : quoted($value);
}

sub quoted {
    my $text = text(shift);
    $text =~ s/([^\x20\x21\x23-\x5b\x5d-\x7e])/escaped(ord $1)/ge;
    return qq("$text");
}

sub escaped {
    my $code = shift;
    return sprintf "\\u%04x", $code if $code < 0x10000;
    return sprintf "\\u%04x\\u%04x", 0xd7c0 + ($code >> 10), 0xdc00 + ($code & 0x3ff);
}

my $CHARACTER = qr/[\xc2-\xdf][\x80-\xbf]
    | \xe0[\xa0-\xbf][\x80-\xbf] | [\xe1-\xec\xee\xef][\x80-\xbf]{2} | \xed[\x80-\x9f][\x80-\xbf]
    | \xf0[\x90-\xbf][\x80-\xbf]{2} | [\xf1-\xf3][\x80-\xbf]{3} | \xf4[\x80-\x8f][\x80-\xbf]{2}/x;

# Decode UTF-8; bytes that are none become surrogates, as Python has them.
sub text {
    my $text = shift;
    return $text if utf8::is_utf8($text);
    $text =~ s/($CHARACTER)|([\x80-\xff])/defined $1 ? character($1) : chr(0xdc00 + ord $2)/ge;
    return $text;
}

sub character { my $bytes = shift; utf8::decode($bytes); return $bytes }
