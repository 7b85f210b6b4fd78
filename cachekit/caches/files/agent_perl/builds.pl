# Prime: build a tree beside the root by a command or as a copy, and swap it in.
my $LAST_WORDS = 2000;

# Build, verify, swap, and keep the old tree for a rollback.
sub prime {
    my $root = root_to_prime();
    my $not_collected = collect($root, \my $count, orphans($root));
    my ($fresh, $directory, $manifest) = kept_tree($root);
    ($fresh, $directory, $manifest) = build($root) unless $fresh;
    my ($how, $retired) = swap($root, $fresh);
    my $size = 0;
    $size += $_ for values %$manifest;
    my $answer = { how => $how, found => scalar keys %$manifest, size => $size,
        left => is_in_place($root, $directory) ? 0 : undef, not_collected => $not_collected };
    return { %$answer, keep($root, $retired) };
}

# Open the root, which is made where there is none yet.
sub root_to_prime {
    my $root = eval { locked_root() };
    if (!$root) {
        die $@ unless ref $@ && $@->{missing};
        make_root();
        $root = locked_root();
    }
    check_mark($root);
    return $root;
}

# Open the tree kept for a rollback that is asked for, if so; it is swapped back as it is.
sub kept_tree {
    my $root = shift;
    my ($folder, $name) = ($JOB{source} || "") =~ m{\A(.*)/([^/]+)/*\z}s or return;
    return unless grep { $_ eq $name } kept($root);
    my @asked = stat $folder or return;
    my @parent = stat $root->{parent};
    return unless "@asked[0, 1]" eq "@parent[0, 1]";
    my $directory = open_directory($name) or fail($name);
    return ($name, $directory, manifest_of($directory));
}

# List the files of a tree with their sizes, the marker left out.
sub manifest_of {
    my $top = shift;
    my %found;
    picked($top, {}, sub { $found{ $_[1] } = $_[2][7] });
    return \%found;
}

sub build {
    my $root = shift;
    my ($fresh, $directory) = make_fresh($root);
    my $manifest = eval { fill($root, $fresh, $directory) };
    return ($fresh, $directory, $manifest) if $manifest;
    my $error = $@;
    $END = now() + 5;
    collect($root, \my $ignored, $fresh);
    die $error;
}

sub fill {
    my ($root, $fresh, $directory) = @_;
    my ($above) = $root->{full} =~ m{\A(.*/)}s;
    if ($JOB{command}) {
        become_like_root($root, $directory);
        run_program($JOB{command}, $above . $fresh, stat $directory);
    }
    else {
        fill_from_source($root, $directory, $above . $fresh);
        become_like_root($root, $directory);
    }
    my $built = manifest_of($directory);
    refuse("nothing was built, so $root->{full} stays as it is") unless %$built;
    copy_marker($root, $directory);
    # After a power cut, a file of PHP must not be there and empty.
    syscall $CALL{syncfs}, fileno $directory if $CALL{syncfs};
    return $built;
}

sub become_like_root {
    my ($root, $directory) = @_;
    chdir $root->{top} or fail($root->{full});
    my $attributes = attributes(".");
    chdir $directory or fail($root->{full});
    imitate(".", $attributes, stat $root->{top});
}

sub fill_from_source {
    my ($root, $directory, $path) = @_;
    my ($source, $is_archive) = open_source();
    return unpack_archive($directory, $path, $root->{top}) if $is_archive;
    my $wanted = copy_tree($source, $directory, $root->{top});
    refuse("what was built is not what is in $JOB{source}; is it being written?")
        unless json($wanted) eq json(manifest_of($directory));
}

sub open_source {
    sysopen(my $source, $JOB{source}, O_RDONLY) or fail($JOB{source});
    return ($source, 1) if -f $source;
    chdir $source or fail($JOB{source});
    my $real = POSIX::getcwd();
    refuse("$real is or holds the cache itself") if index("$JOB{path}/", "$real/") == 0;
    return ($source, 0);
}

# Run a program to its end, as the given owner if we are root, and end it with the deadline.
sub run_program {
    my ($argv, $path, @owner) = @_;
    pipe my $read, my $write or fail("pipe");
    my $pid = fork;
    defined $pid or fail("fork");
    become($argv, $path, $write, @owner) if $pid == 0;
    close $write;
    my $said = eval { read_all($read) };
    my $error = $@;
    kill "KILL", -$pid unless defined $said;
    waitpid $pid, 0;
    die $error unless defined $said;
    my $status = $? >> 8 || $? & 127;
    return $said unless $status;
    $said = substr $said, -$LAST_WORDS if length $said > $LAST_WORDS;
    refuse("$argv->[0] ended with $status: $said");
}

sub become {
    my ($argv, $path, $write, @owner) = @_;
    eval {
        POSIX::setsid();
        open STDIN, "<", "/dev/null";
        open STDOUT, ">&", $write;
        open STDERR, ">&", $write;
        chdir $START;
        if (@owner && $> == 0 && $owner[4] != 0) {
            $) = join " ", $owner[5], groups_of(@owner[4, 5]);
            $( = $owner[5];
            POSIX::setuid($owner[4]) or fail("setuid");
        }
        # The program ends when this process does; signal 9.
        syscall $CALL{prctl}, 1, 9 if $CALL{prctl};
        $ENV{CACHEKIT_DIR} = $path;
        no warnings "exec";
        exec { $argv->[0] } @$argv or fail($argv->[0]);
    };
    print STDERR ref $@ ? $@->{error} : $@;
    POSIX::_exit(127);
}

# Give the groups of a user, of whom perl-base asks no library.
sub groups_of {
    my ($uid, $gid) = @_;
    my $user = getpwuid $uid;
    my @groups = ($gid);
    return @groups unless defined $user;
    while (my (undef, undef, $number, $members) = getgrent) {
        push @groups, $number if grep { $_ eq $user } split / /, $members;
    }
    return @groups;
}

sub read_all {
    my $read = shift;
    my $said = "";
    while (1) {
        my $left = $END - now();
        die { late => "the command was still at work" } if $left <= 0;
        vec(my $ready = "", fileno $read, 1) = 1;
        next unless select $ready, undef, undef, $left;
        return $said unless sysread $read, $said, 65536, length $said;
    }
}

# Keep the old tree and as many before it as is wished; remove the others.
sub keep {
    my ($root, $retired) = @_;
    chdir $root->{parent} or fail($root->{full});
    rename $retired, sibling($root, "kept") or fail($retired);
    my @names = kept($root);
    my @surplus = splice @names, 0, @names > $JOB{keep} ? @names - $JOB{keep} : 0;
    my $not_removed = collect($root, \my $count, @surplus);
    return (kept => names(@names), not_removed => $not_removed);
}
