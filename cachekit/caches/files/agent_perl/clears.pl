# Clear, survey and status of one cache directory.
my $EXAMPLES = 5;

sub survey {
    my $root = open_root();
    check_mark($root);
    my ($found, $size, $total, @examples) = (0, 0, 0);
    picked($root->{top}, \%JOB, sub {
        my (undef, $label, $state) = @_;
        ++$found;
        $size += $state->[7];
        push @examples, $label if @examples < $EXAMPLES;
    });
    picked($root->{top}, {}, sub { ++$total });
    my $answer = { found => $found, size => $size, total => $total, examples => names(@examples) };
    return $found ? $answer : { %$answer, looks => looks($root) };
}

sub status {
    my $root = open_root();
    my ($items, $size, $php, $oldest, $newest) = (0, 0, 0);
    picked($root->{top}, {}, sub {
        my ($name, undef, $state) = @_;
        my $modified = $state->[9];
        $php += $name =~ /\.php\z/;
        ++$items;
        $size += $state->[7];
        $oldest = $modified if !defined $oldest || $modified < $oldest;
        $newest = $modified if !defined $newest || $modified > $newest;
    });
    return { items => $items, size => $size, php => $php,
        ages => [map { time() - $_ } grep { defined } $oldest, $newest],
        orphans => names(orphans($root)), kept => names(kept($root)),
        marked => is_marked($root) ? 1 : 0, room($root) };
}

# Names that look like numbers are text all the same.
sub names { return [map { \(my $name = $_) } @_] }

# Tell how full the disk is, where its numbers can be asked for.
sub room {
    my $root = shift;
    return () unless $CALL{statfs};
    my ($path, $found) = (".", "\0" x 120);
    chdir $root->{top} or fail($root->{full});
    return () unless syscall($CALL{statfs}, $path, $found) == 0;
    my (undef, undef, $blocks, undef, $available, $files, $free) = unpack "q7", $found;
    return (disk => [$available, $blocks], inodes => [$free, $files]);
}

sub clear {
    my $root = locked_root();
    check_mark($root);
    my $answer = $JOB{everything} ? clear_all($root) : clear_some($root);
    $answer->{not_collected} = collect($root, \my $count, orphans($root));
    return $answer;
}

# Remove file by file, then count those that are older than this and still there.
sub clear_some {
    my $root = shift;
    # A file's age is in whole seconds here; what failed is known exactly.
    my ($started, $removed, $left, %failed) = (time() - 1, 0, 0);
    my $done = eval {
        picked($root->{top}, \%JOB, sub {
            my ($name, $label) = @_;
            if (unlink $name) { ++$removed }
            elsif ($! != ENOENT) { $failed{$label} = "$!" }
        });
        picked($root->{top}, \%JOB, sub { $left += $JOB{shared} || $_[2][10] < $started });
        1;
    };
    die $@ unless $done || ref $@ && $@->{late};
    return { removed => $removed, late => $@->{late}, failed => \%failed } unless $done;
    $left = keys %failed if $left < keys %failed;
    my $found = $removed + keys %failed;
    my $answer = { found => $found, removed => $removed, left => $left, failed => \%failed };
    return $found ? $answer : { %$answer, looks => looks($root) };
}

# Put an empty tree in the place of the old one, then remove that at leisure.
sub clear_all {
    my $root = shift;
    return { found => 0, removed => 0, left => 0 } if is_empty($root);
    my $began = now();
    my ($fresh, $directory) = make_fresh($root);
    my $born = (stat $directory)[10];
    my @swap = eval { keep_directories($root, $directory); swap($root, $fresh) };
    if (my $error = $@) {
        collect($root, \my $ignored, $fresh);
        die $error;
    }
    my $usable = now() - $began;
    my $left = count_older($root, $directory, $born);
    chdir $root->{top} and unlink $MARKER;
    my $removed = 0;
    my $not_removed = collect($root, \$removed, $swap[1]);
    return { how => $swap[0], usable => sprintf("%.6f", $usable), removed => $removed, left => $left,
        found => %$not_removed ? undef : $removed, not_removed => $not_removed };
}

sub is_empty {
    my $root = shift;
    return 1 if eval { picked($root->{top}, {}, sub { die { found => 1 } }); 1 };
    die $@ unless ref $@ && $@->{found};
    return 0;
}

# Count what the path leads to and is older than the fresh tree; undef if that cannot be.
sub count_older {
    my ($root, $fresh, $born) = @_;
    return undef unless is_in_place($root, $fresh);
    my $older = 0;
    return $older if eval { picked($fresh, {}, sub { $older += $_[2][10] < $born }); 1 };
    return undef;
}

# Give examples of paths or keys for patterns that matched none.
sub looks {
    my $root = shift;
    my @labels;
    return [] unless $JOB{match} || $JOB{search};
    eval {
        picked($root->{top}, { by_key => $JOB{by_key} }, sub {
            push @labels, $_[1];
            die { enough => 1 } if @labels == $EXAMPLES;
        });
    };
    die $@ if $@ && !(ref $@ && $@->{enough});
    return names(@labels);
}
