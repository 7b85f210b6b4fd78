# A fresh tree beside the old one: its directories without their files.

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
