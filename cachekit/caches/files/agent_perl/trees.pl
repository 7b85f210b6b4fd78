# Below one directory. There is no openat here: each directory is opened, no link is followed, and
# entered instead.
my $DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
# Numbers of system calls for which perl has no function.
my @CALLS = qw(renameat2 listxattr getxattr setxattr statfs prctl clock_gettime syncfs);
my %NUMBERS = (
    x86_64 => [316, 194, 191, 188, 137, 157, 228, 306],
    aarch64 => [276, 11, 8, 5, 43, 167, 113, 267],
    riscv64 => [276, 11, 8, 5, 43, 167, 113, 267],
    ppc64le => [357],
    s390x => [347],
);
my %CALL;
@CALL{@CALLS} = @{ $NUMBERS{ (POSIX::uname())[4] } || [] };

my $END = now() + $JOB{seconds};
my $START = POSIX::getcwd();

sub refuse { die { refused => shift } }
sub fail { die { error => "$_[0]: $!" } }
sub check_time { die { late => "the time was used up" } if now() >= $END }

# Monotonic seconds; whole ones where no better clock can be reached.
sub now {
    return time unless $CALL{clock_gettime};
    my $found = "\0" x 16;
    syscall $CALL{clock_gettime}, 1, $found;
    my ($seconds, $nanoseconds) = unpack "q2", $found;
    return $seconds + $nanoseconds / 1e9;
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

# Call back in each directory, from the top down, with its path and the names of its files and
# directories; those that the visitor takes out are not visited.
sub walk {
    my ($top, $visit) = @_;
    my $device = (stat $top)[0];
    my @pending = ("");
    while (@pending) {
        check_time();
        my $path = shift @pending;
        next unless enter($top, $path);
        next unless (stat ".")[0] == $device;
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

# Remove a directory with all that is below it, until it is gone; counts the files that went.
sub remove {
    my ($parent, $name, $count) = @_;
    while (1) {
        chdir $parent or fail($name);
        my $top = open_directory($name);
        return if !$top && $! == ENOENT;
        fail($name) unless $top;
        empty($top, $count);
        chdir $parent or fail($name);
        return if rmdir $name or $! == ENOENT;
        fail($name) unless $! == ENOTEMPTY || $! == EEXIST;
        # A writer that still has a directory in it open has just made something there.
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
            if (unlink $name) { ++$$count }
            elsif ($! != ENOENT) { fail(below($path, $name)) }
        }
    });
    for my $path (reverse grep { length } @visited) {
        my ($above, $name) = $path =~ m{\A(?:(.*)/)?([^/]+)\z}s;
        rmdir $name if enter($top, defined $above ? $above : "");
    }
}

# Give something new the owner, mode and extended attributes of something older.
sub imitate {
    my ($path, $attributes, @like) = @_;
    my @found = stat $path or fail($path);
    if ("@like[4, 5]" ne "@found[4, 5]" && !chown($like[4], $like[5], $path)) {
        refuse("cannot keep the owners and modes in $JOB{path} ($!); run as their owner or as root");
    }
    chmod $like[2] & 07777, $path or fail($path);
    for (@$attributes) {
        my ($name, $value) = @$_;
        next if syscall($CALL{setxattr}, $path, $name, $value, length $value, 0) == 0;
        # Only root may set some, such as security.*; new files get those by themselves.
        fail($path) unless $! == EPERM || $! == EOPNOTSUPP;
    }
}

# Read the extended attributes of a path as pairs; ACLs are among them.
sub attributes {
    my $path = shift;
    return [] unless $CALL{listxattr};
    my $names = "\0" x 65536;
    my $length = syscall $CALL{listxattr}, $path, $names, 65536;
    return [] unless $length > 0;
    return [map { value_of($path, $_) } split /\0/, substr $names, 0, $length];
}

sub value_of {
    my ($path, $name) = @_;
    my $value = "\0" x 65536;
    my $length = syscall $CALL{getxattr}, $path, $name, $value, 65536;
    return $length < 0 ? () : [$name, substr $value, 0, $length];
}
