# The same jobs as agent/, for nodes that have perl and no python3: clear, survey and status of
# plain files. Needs no more than Debian's perl-base. %JOB stands before this text.
# There is no openat here: each directory is opened (no link is followed) and entered instead.
use strict;
use warnings;
use Errno qw(ENOENT ENOTDIR ELOOP EINVAL ENOSYS EOPNOTSUPP EEXIST ENOTEMPTY EISDIR EWOULDBLOCK);
use Fcntl qw(:DEFAULT :flock :mode);
use POSIX ();

our %JOB;
my $DIRECTORY = O_RDONLY | 0200000 | 0400000;    # O_DIRECTORY, O_NOFOLLOW: not in perl-base's Fcntl
my %RENAMEAT2 = (x86_64 => 316, aarch64 => 276, ppc64le => 357, s390x => 347, riscv64 => 276);
my $MACHINE = (POSIX::uname())[4];
# Where the bits differ from the common ones.
$DIRECTORY = O_RDONLY | 040000 | 0100000 if $MACHINE =~ /^(?:aarch64|arm|ppc)/;
my $MARKER = ".cachekit";
my $now = eval { require Time::HiRes; \&Time::HiRes::time } || sub { time() };
my $END = time() + $JOB{seconds};
my $SIBLING = qr/\.cachekit-([a-z]+)-\d{16}-[0-9a-f]{6}/;

sub refuse { die { refused => shift } }
sub check_time { die { late => "the time was used up" } if time() >= $END }
sub fail { die { error => "$_[0]: $!" } }

# JSON, as far as the answers need it.
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
    my $text = shift;
    # Bytes that are no UTF-8 become surrogates, as Python has them.
    utf8::decode($text) or $text =~ s/([\x80-\xff])/chr(0xdc00 + ord $1)/ge;
    $text =~ s/([^\x20\x21\x23-\x5b\x5d-\x7e])/escaped(ord $1)/ge;
    return qq("$text");
}

sub escaped {
    my $code = shift;
    return sprintf "\\u%04x", $code if $code < 0x10000;
    return sprintf "\\u%04x\\u%04x", 0xd7c0 + ($code >> 10), 0xdc00 + ($code & 0x3ff);
}

sub open_directory {
    my $name = shift;
    sysopen(my $directory, $name, $DIRECTORY) or return;
    return $directory;
}

# Go down from the top step by step; false where a step has gone or has become something else.
sub enter {
    my ($top, $path) = @_;
    chdir $top or fail("directory");
    for my $name (split m{/}, $path) {
        my $below = open_directory($name);
        if (!$below) {
            return 0 if $! == ENOENT || $! == ENOTDIR || $! == ELOOP;
            fail($path);
        }
        chdir $below or fail($path);
    }
    return 1;
}

# Call back in each directory, from the top down, with its path and the names of its files.
sub walk {
    my ($top, $visit, $without_files) = @_;
    my $device = (stat $top)[0];
    my @pending = ("");
    while (@pending) {
        check_time();
        my $path = shift @pending;
        next unless enter($top, $path);
        my @here = stat ".";
        next unless $here[0] == $device;
        # Two links are the directory's name and its own dot: no directory is in it.
        if ($without_files && $here[3] == 2 && length $path) { $visit->($path, [], []); next }
        opendir(my $listing, ".") or fail($path);
        my (@files, @directories);
        for my $name (grep { !/\A\.\.?\z/ } readdir $listing) {
            my @state = lstat $name or next;
            push @{ S_ISDIR($state[2]) ? \@directories : \@files }, $name;
        }
        closedir $listing;
        $visit->($path, \@files, \@directories);
        push @pending, map { below($path, $_) } @directories;
    }
}

sub below { my ($path, $name) = @_; return length $path ? "$path/$name" : $name }

# Call back, in its directory, for each file that is meant.
sub picked {
    my ($top, $job, $visit) = @_;
    my @patterns = map { my $each = $_; utf8::decode($each); qr/\A(?:$each)\z/s }
        @{ $job->{match} || [] };
    my $before = defined $job->{older_than} ? time() - $job->{older_than} : undef;
    walk($top, sub {
        my ($directory, $files) = @_;
        for my $name (@$files) {
            my $path = below($directory, $name);
            next if $path eq $MARKER;
            my $text = $path;
            utf8::decode($text);
            next if @patterns && !grep { $text =~ $_ } @patterns;
            my @state = lstat $name or next;
            $visit->($name, $path, \@state) if !defined $before || $state[9] < $before;
        }
    });
}

sub system_reason {
    my $path = shift;
    my ($parent) = $path =~ m{\A(.*)/[^/]+\z}s or return "is no absolute path";
    $parent = "/" if $parent eq "";
    return "is a directory of the system; name the one that holds nothing but the cache"
        if grep { $_ eq $parent || $_ eq $path } @{ $JOB{system_parents} };
    return "belongs to the system"
        if grep { index("$path/", "$_/") == 0 } @{ $JOB{system_trees} };
    return "";
}

sub mounts {
    open(my $file, "<", "/proc/self/mountinfo") or return;
    return map { my $point = (split / /)[4]; $point =~ s/\\([0-7]{3})/chr oct $1/ge; $point } <$file>;
}

sub check_path {
    my $full = shift;
    my $reason = system_reason($full);
    refuse("$full $reason") if $reason;
    my $home = (getpwuid $>)[7];
    refuse("$full is a home directory") if index("$home/", "$full/") == 0;
    for my $mount (mounts()) {
        refuse("$mount is a mount, at or below the cache; name a directory without mounts")
            if index("$mount/", "$full/") == 0;
    }
}

# Open the root, once it is sure to be a cache: its parent, name, directory, and link of ours.
sub open_root {
    my ($parent_path, $name) = $JOB{path} =~ m{\A(.*)/([^/]+)\z}s;
    my $parent = open_directory_following($parent_path eq "" ? "/" : $parent_path)
        or die { missing => "there is no directory $parent_path" };
    chdir $parent or fail($parent_path);
    my $full = POSIX::getcwd() . "/$name";
    check_path($full);
    my $link = own_link($name);
    my $directory = open_directory($link || $name);
    if (!$directory) {
        die { missing => "there is no directory $full" } if $! == ENOENT;
        $! == ENOTDIR ? refuse("$full is no directory") : fail($full);
    }
    my $root = { full => $full, parent => $parent, name => $name, top => $directory, link => $link };
    check_owner($root);
    return $root;
}

sub open_directory_following {
    sysopen(my $directory, $_[0], O_RDONLY) or return;
    return $directory;
}

sub own_link {
    my $name = shift;
    return "" unless -l $name;
    my $target = readlink $name;
    refuse("$name is a symbolic link to $target; name the directory itself as `path`")
        unless $target =~ /\A\.\Q$name\E$SIBLING\z/s && $1 =~ /^(?:tree|kept)$/;
    return $target;
}

sub check_owner {
    my $root = shift;
    return unless defined $JOB{owner};
    my $uid = (stat $root->{top})[4];
    my $found = getpwuid $uid;
    $found = $uid unless defined $found;
    refuse("$root->{full} belongs to $found, not to $JOB{owner}")
        unless $JOB{owner} eq $found || $JOB{owner} eq $uid;
}

sub is_marked {
    my $root = shift;
    chdir $root->{top} or fail($root->{full});
    return lstat($MARKER) && -f _;
}

sub check_mark {
    my $root = shift;
    refuse("$root->{full} holds no file .cachekit, so it may be no cache; make that file there, or "
            . "set `adopt: true`")
        unless $JOB{adopt} || is_marked($root);
}

sub lock_directory { return flock($_[0], LOCK_EX | LOCK_NB) || $! != EWOULDBLOCK }

sub locked_root {
    while (1) {
        my $root = open_root();
        return $root if lock_directory($root->{top}) && is_in_place($root, $root->{top});
        die { late => "another run is at work on $JOB{path}" } if time() >= $END;
        select undef, undef, undef, 0.01;
    }
}

sub is_in_place {
    my ($root, $directory) = @_;
    chdir $root->{parent} or fail($root->{full});
    my @now = stat $root->{name} or return 0;
    my @wanted = stat $directory;
    return $now[0] == $wanted[0] && $now[1] == $wanted[1];
}

my $made = 0;

sub sibling {
    my ($root, $kind) = @_;
    my $token = sprintf "%d%06d-%02x%04x", time(), ++$made, $$ & 0xff, ($$ >> 8) & 0xffff;
    return ".$root->{name}.cachekit-$kind-$token";
}

sub siblings {
    my ($root, $wanted) = @_;
    chdir $root->{parent} or fail($root->{full});
    opendir(my $listing, ".") or fail($root->{full});
    my $live = own_link($root->{name});
    return grep { /\A\.\Q$root->{name}\E$SIBLING\z/s && $_ ne $live && $wanted->($1) }
        sort readdir $listing;
}

sub orphans {
    my $root = shift;
    return grep { is_free($_) } siblings($root, sub { $_[0] ne "kept" });
}

sub is_free {
    my $directory = open_directory($_[0]) or return 1;
    return lock_directory($directory);
}

# Remove trees beside the root; give those that could not be, each with the reason.
sub collect {
    my ($root, $count, @names) = @_;
    my %left;
    for my $name (@names) {
        next if eval { discard($root, $name, $count); 1 };
        $left{$name} = ref $@ ? $@->{late} || $@->{error} : "$@";
    }
    return \%left;
}

sub discard {
    my ($root, $name, $count) = @_;
    while (1) {
        chdir $root->{parent} or fail($root->{full});
        my @state = lstat $name or return;
        if (!S_ISDIR($state[2])) { unlink $name or fail($name); return }
        my $top = open_directory($name) or fail($name);
        empty($top, $count);
        chdir $root->{parent} or fail($root->{full});
        return if rmdir $name;
        fail($name) unless $! == ENOTEMPTY || $! == EEXIST;
        check_time();
    }
}

sub empty {
    my ($top, $count) = @_;
    my @visited;
    walk($top, sub {
        my ($path, $files) = @_;
        push @visited, $path;
        for my $name (@$files) {
            unlink $name or $! == ENOENT or fail(below($path, $name));
            ++$$count;
        }
    });
    for my $path (reverse grep { length } @visited) {
        my ($above, $name) = $path =~ m{\A(?:(.*)/)?([^/]+)\z}s;
        rmdir $name if enter($top, defined $above ? $above : "");
    }
}

# Repeat the root's directories with their owners and modes, and its marker.
sub keep_directories {
    my ($root, $fresh) = @_;
    walk($root->{top}, sub {
        my ($path, $files, $directories) = @_;
        my @like = stat ".";
        my $has_marker = $path eq "" && grep { $_ eq $MARKER } @$files;
        my $text = $has_marker ? read_marker() : undef;
        enter($fresh, $path) or fail($path);
        imitate(".", @like);
        for my $name (@$directories) { mkdir $name, 0700 or fail(below($path, $name)) }
        write_marker($text, $root) if defined $text;
    }, 1);
}

sub imitate {
    my ($path, @like) = @_;
    my @found = stat $path;
    if ("@like[4, 5]" ne "@found[4, 5]" && !chown($like[4], $like[5], $path)) {
        refuse("cannot keep the owners in $JOB{path} ($!); run as their owner or as root");
    }
    chmod $like[2] & 07777, $path or fail($path);
}

sub read_marker {
    sysopen(my $file, $MARKER, O_RDONLY | O_NONBLOCK) or return;
    sysread $file, my $text, 4096;
    return [$text, stat $file];
}

sub write_marker {
    my ($text, @like) = @{ $_[0] };
    sysopen(my $file, $MARKER, O_WRONLY | O_CREAT | O_EXCL, 0600) or fail($MARKER);
    syswrite $file, $text;
    imitate($MARKER, @like);
}

# Put the fresh tree in place of the old one; give how, and the name that the old one has now.
sub swap {
    my ($root, $fresh) = @_;
    chdir $root->{parent} or fail($root->{full});
    if ($root->{link}) {
        my $link = sibling($root, "link");
        symlink $fresh, $link or fail($link);
        rename $link, $root->{name} or fail($root->{full});
        return ("link flipped in one step", $root->{link});
    }
    return ("exchanged in one step", $fresh) if !$JOB{shared} && exchange($fresh, $root->{name});
    return ("two renames", rename_twice($root, $fresh));
}

sub exchange {
    my ($one, $other) = @_;
    my $number = $RENAMEAT2{$MACHINE} or return 0;
    my $here = -100;    # AT_FDCWD
    return 1 if syscall($number, $here, $one, $here, $other, 2) == 0;
    return 0 if $! == ENOSYS || $! == EINVAL || $! == EOPNOTSUPP;
    fail($other);
}

sub rename_twice {
    my ($root, $fresh) = @_;
    my $retired = sibling($root, "old");
    rename $root->{name}, $retired or fail($root->{full});
    for (1 .. 100) {
        return $retired
            if $JOB{shared} ? symlink($fresh, $root->{name}) : rename($fresh, $root->{name});
        my $error = $!;
        if (!grep { $error == $_ } ENOTEMPTY, EEXIST, EISDIR, ENOTDIR) {
            rename $retired, $root->{name};
            die { error => "$root->{full}: $error" };
        }
        # A writer has made the directory anew in that moment: what it wrote is no loss.
        rename $root->{name}, sibling($root, "old");
    }
    refuse("$root->{full} is made anew by a writer each time it is moved");
}

sub clear {
    my $root = locked_root();
    check_mark($root);
    my $answer = $JOB{everything} ? clear_all($root) : clear_some($root);
    $answer->{not_collected} = collect($root, \my $count, orphans($root));
    return $answer;
}

sub clear_some {
    my $root = shift;
    my ($started, $removed, $left, %failed) = (time() - 1, 0, 0);
    my $done = eval {
        picked($root->{top}, \%JOB, sub {
            my ($name, $path) = @_;
            if (unlink $name) { ++$removed }
            elsif ($! != ENOENT) { $failed{$path} = "$!" }
        });
        picked($root->{top}, \%JOB, sub { $left += $JOB{shared} || $_[2][10] < $started });
        1;
    };
    die $@ unless $done || ref $@ && $@->{late};
    return { removed => $removed, late => "yes", failed => \%failed } unless $done;
    # Whole seconds are all that perl-base sees of a file's age; what failed is known exactly.
    $left = keys %failed if $left < keys %failed;
    return { found => $removed + keys %failed, removed => $removed, left => $left,
        failed => \%failed };
}

sub is_empty {
    my $root = shift;
    return 1 if eval { picked($root->{top}, {}, sub { die { found => 1 } }); 1 };
    die $@ unless ref $@ && $@->{found};
    return 0;
}

sub clear_all {
    my $root = shift;
    return { found => 0, removed => 0, left => 0 } if is_empty($root);
    my $began = $now->();
    my ($fresh, $directory) = make_fresh($root);
    my $born = (stat $directory)[10];
    my @swap = eval { keep_directories($root, $directory); swap($root, $fresh) };
    if (my $error = $@) {
        collect($root, \my $ignored, $fresh);
        die $error;
    }
    my $usable = $now->() - $began;
    my $left = count_older($root, $directory, $born);
    chdir $root->{top} and unlink $MARKER;
    my $removed = 0;
    my $not_removed = collect($root, \$removed, $swap[1]);
    return { how => $swap[0], usable => sprintf("%.6f", $usable), removed => $removed, left => $left,
        found => %$not_removed ? undef : $removed, not_removed => $not_removed };
}

# Count what the path leads to and is older than the fresh tree; undef if that cannot be.
sub count_older {
    my ($root, $fresh, $born) = @_;
    return undef unless is_in_place($root, $fresh);
    my $older = 0;
    return $older if eval { picked($fresh, {}, sub { $older += $_[2][10] < $born }); 1 };
    return undef;
}

sub make_fresh {
    my $root = shift;
    my $name = sibling($root, $JOB{shared} || $root->{link} ? "tree" : "new");
    chdir $root->{parent} or fail($root->{full});
    mkdir $name, 0700
        or refuse("cannot make a directory beside $root->{full} ($!); the user of this node may "
            . "not write there");
    my $directory = open_directory($name) or fail($name);
    lock_directory($directory);
    return ($name, $directory);
}

sub survey {
    my $root = open_root();
    check_mark($root);
    my ($found, $size, $total, @examples) = (0, 0, 0);
    picked($root->{top}, \%JOB, sub {
        my ($name, $path, $state) = @_;
        ++$found;
        $size += $state->[7];
        push @examples, \$path if @examples < 5;
    });
    picked($root->{top}, {}, sub { ++$total });
    return { found => $found, size => $size, total => $total, examples => \@examples };
}

sub status {
    my $root = open_root();
    my ($items, $size, $php, @ages) = (0, 0, 0);
    picked($root->{top}, {}, sub {
        my ($name, undef, $state) = @_;
        $php += $name =~ /\.php\z/;
        ++$items;
        $size += $state->[7];
        my @sorted = sort { $a <=> $b } @ages, $state->[9];
        @ages = @sorted[0, -1];
    });
    return { items => $items, size => $size, php => $php, ages => [map { time() - $_ } @ages],
        orphans => names(orphans($root)), kept => names(siblings($root, sub { $_[0] eq "kept" })),
        marked => is_marked($root) ? 1 : 0 };
}

# Names that look like numbers are text all the same.
sub names { return [map { \(my $name = $_) } @_] }

sub main {
    my %actions = (clear => \&clear, survey => \&survey, status => \&status);
    my $action = $actions{ $JOB{action} };
    refuse("this takes python3, which is not there; install it") if !$action || $JOB{by_key};
    return $action->();
}

my $answer = eval { main() };
$answer = ref $@ ? $@ : { error => "$@" } unless $answer;
print json($answer), "\n";
