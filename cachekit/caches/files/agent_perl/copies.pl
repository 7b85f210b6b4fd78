# Copying a directory or an archive into a fresh tree: plain files and directories, no others.

# Copy a directory; list what was copied, with sizes.
sub copy_tree {
    my ($source_top, $fresh, $like) = @_;
    my %manifest;
    walk($source_top, sub {
        my ($path, $files, $directories) = @_;
        sysopen(my $source, ".", O_RDONLY) or fail($path);
        enter($fresh, $path) or fail($path);
        sysopen(my $target, ".", O_RDONLY) or fail($path);
        make_directory($_, $like) for @$directories;
        for my $name (@$files) {
            my $file = below($path, $name);
            $manifest{$file} = copy_file($source, $name, $target, $like, $file)
                if $file ne $MARKER;
        }
    });
    return \%manifest;
}

sub copy_file {
    my ($source, $name, $target, $like, $path) = @_;
    chdir $source or fail($path);
    lstat $name;
    refuse("$path is no plain file; only those are copied") unless -f _;
    sysopen(my $from, $name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) or fail($path);
    my @state = stat $from;
    chdir $target or fail($path);
    sysopen(my $to, $name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600) or fail($path);
    my $read;
    while ($read = sysread $from, my $bytes, 1 << 20) {
        check_time();
        my $done = syswrite $to, $bytes;
        fail($path) unless defined $done && $done == length $bytes;
    }
    fail($path) unless defined $read;
    finish($to, $like, $state[2]);
    utime $state[9], $state[9], $to or fail($path);
    return -s $to;
}

sub make_directory {
    my ($name, $like) = @_;
    mkdir $name, 0700 or fail($name);
    my $made = open_directory($name) or fail($name);
    finish($made, $like, (stat $like)[2]);
}

# Set the owner to that of the cache, and the mode.
sub finish {
    my ($made, $like, $mode) = @_;
    my @like = stat $like;
    if ($> == 0) { chown $like[4], $like[5], $made or fail($JOB{path}) }
    chmod $mode & 02777, $made or fail($JOB{path});
}

# Unpack an archive by tar, which knows how it is compressed; what tar would bend is refused. The
# fresh tree is ours alone meanwhile, since tar follows links that somebody puts into it.
sub unpack_archive {
    my ($fresh, $path, $like) = @_;
    my @tar = ("tar", "--file", $JOB{source}, "--force-local", "--quoting-style=escape");
    my $listing = run_program([@tar, "--list", "--verbose", "--absolute-names"], $path);
    check_members(split /\n/, $listing);
    run_program([@tar, "--extract", "--no-same-owner", "--directory", $path], $path);
    chdir $fresh and unlink $MARKER;
    walk($fresh, sub {
        my (undef, $files, $directories) = @_;
        for my $name (@$files, @$directories) {
            sysopen(my $made, $name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) or fail($name);
            finish($made, $like, (stat(-d $made ? $like : $made))[2]);
        }
    });
}

sub check_members {
    my %seen;
    for (@_) {
        my ($type, $name) = m{\A(.)\S+ +\S+ +\d+ \S+ \S+ (.*)\z}s or refuse("tar says: $_");
        refuse("'$name' in the archive is no plain file or directory") unless $type =~ /[-d]/;
        refuse("'$name' in the archive leads out of it")
            if $name =~ m{\A/|//|(?:\A|/)\.\.(?:/|\z)};
        refuse("'$name' is in the archive twice") if $type eq "-" && $seen{$name}++;
    }
}
