# Putting a fresh tree in the place of the old one, and what is left beside the root by crashes.
my ($EXCHANGED, $FLIPPED, $RENAMED) =
    ("exchanged in one step", "link flipped in one step", "two renames");

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
