# Putting a fresh tree in the place of the old one, and what is left beside the root by crashes.
my ($EXCHANGED, $FLIPPED, $RENAMED) =
    ("exchanged in one step", "link flipped in one step", "two renames");

# Make an empty directory beside the root, locked; give its name and the open directory.
sub make_fresh {
    my $root = shift;
    # A directory that links lead to keeps its name, hence another kind.
    my $name = sibling($root, $JOB{shared} || $root->{link} ? "tree" : "new");
    chdir $root->{parent} or fail($root->{full});
    mkdir $name, 0700
        or refuse("cannot make a directory beside $root->{full} ($!); the user of this node may "
            . "not write there");
    my $directory = open_directory($name) or fail($name);
    lock_directory($directory);
    return ($name, $directory);
}

# Repeat the root's directories with their owners, modes and attributes, and its marker.
sub keep_directories {
    my ($root, $fresh) = @_;
    my @state = stat $root->{top};
    my $umask = umask 0;
    # The owner comes last: until then nobody else can put a link into the fresh tree.
    chown -1, $state[5], $fresh;
    chmod 0700 | $state[2] & S_ISGID, $fresh;
    repeat_below($root, $fresh);
    copy_marker($root, $fresh);
    chdir $root->{top} or fail($root->{full});
    my $attributes = attributes(".");
    chdir $fresh or fail($root->{full});
    imitate(".", $attributes, @state);
    umask $umask;
}

sub repeat_below {
    my ($root, $fresh) = @_;
    my $counted = links_are_counted($root);
    return if $counted && (stat $root->{top})[3] == 2;
    walk($root->{top}, sub {
        my ($path, undef, $directories) = @_;
        my %state = map { my @state = lstat $_; @state ? ($_ => \@state) : () } @$directories;
        my %attributes = map { $_ => attributes($_) } keys %state;
        enter($fresh, $path) or fail($path);
        repeat($_, $attributes{$_}, $state{$_}) for keys %state;
        # Two links are name and dot: no directory is in it, so that it need not be read.
        @$directories = grep { $state{$_} && !($counted && $state{$_}[3] == 2) } @$directories;
    });
}

sub repeat {
    my ($name, $attributes, $state) = @_;
    mkdir $name, $state->[2] & 0777 or fail($name);
    imitate($name, $attributes, @$state);
}

# Tell whether this file system counts in a directory's links the directories that are in it; some
# count nothing (btrfs: always 1) or make the number up (CIFS: always 2).
sub links_are_counted {
    my $root = shift;
    chdir $root->{parent} or fail($root->{full});
    opendir(my $listing, ".") or return 0;
    # With its name and dot: `.` and `..` are in the listing.
    return (stat ".")[3] == grep { lstat($_) && -d _ } readdir $listing;
}

# Put the root's marker, if it has one, into the fresh tree as well.
sub copy_marker {
    my ($root, $fresh) = @_;
    return unless is_marked($root);
    sysopen(my $old, $MARKER, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) or return;
    sysread($old, my $text, 4096);
    my $attributes = attributes($MARKER);
    chdir $fresh or fail($root->{full});
    sysopen(my $new, $MARKER, O_WRONLY | O_CREAT | O_EXCL, 0600) or fail($MARKER);
    syswrite $new, $text;
    imitate($MARKER, $attributes, stat $old);
}

# Put the fresh tree in place of the old one; give how, and the name that the old one has now.
sub swap {
    my ($root, $fresh) = @_;
    chdir $root->{parent} or fail($root->{full});
    if ($root->{link}) {
        my $link = sibling($root, "link");
        symlink $fresh, $link or fail($link);
        rename $link, $root->{name} or fail($root->{full});
        return ($FLIPPED, $root->{link});
    }
    return ($EXCHANGED, $fresh) if !$JOB{shared} && exchange($fresh, $root->{name});
    return ($RENAMED, rename_twice($root, $fresh));
}

sub exchange {
    my ($one, $other) = @_;
    return 0 unless $CALL{renameat2};
    my $here = -100;    # AT_FDCWD
    return 1 if syscall($CALL{renameat2}, $here, $one, $here, $other, 2) == 0;
    return 0 if $! == ENOSYS || $! == EINVAL || $! == EOPNOTSUPP;
    fail_to_move($other);
}

sub fail_to_move {
    my $name = shift;
    refuse("this file system cannot move the directory (overlay, a layer of an image?); remove file "
            . "by file with --glob '**/*'")
        if $! == EXDEV;
    fail($name);
}

# Move the old tree away, then the fresh one in: between the two, nothing is there.
sub rename_twice {
    my ($root, $fresh) = @_;
    my $retired = sibling($root, "old");
    rename $root->{name}, $retired or fail_to_move($root->{full});
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

# Name what crashed runs have left beside the root; what a living run holds is not among it.
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
    chdir $root->{parent} or fail($root->{full});
    my @state = lstat $name or return;
    return remove($root->{parent}, $name, $count) if S_ISDIR($state[2]);
    unlink $name or fail($name);
}
