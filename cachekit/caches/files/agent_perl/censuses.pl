# The directories of all releases: what stands in the place of {release} in a path.

# Count the files of each release; the time may end before all are counted.
sub releases {
    my $template = $JOB{path};
    my (@found, %refused);
    for (candidates($template)) {
        my ($release, $is_link) = @$_;
        (local $JOB{path} = $template) =~ s/\{release\}/$release/g;
        my $root = eval { my $opened = open_root(); check_mark($opened); $opened };
        if ($root) {
            push @found, { %{ counted($root) }, release => \$release };
        }
        elsif (ref $@ && $@->{refused}) {
            # Links beside releases, such as `current`, are none.
            $refused{$release} = $@->{refused} unless $is_link;
        }
        elsif (!(ref $@ && $@->{missing})) {
            die $@;
        }
    }
    return { found => \@found, left_out => \%refused };
}

# Give what may be releases, and whether a link stands there; above a cache it is none.
sub candidates {
    my ($above, $name, $below) = $_[0] =~ m{\A(.*?)/([^/]*\{release\}[^/]*)(/.*)?\z}s;
    my ($start, @others) = map { quotemeta } split /\{release\}/, $name, -1;
    my $pattern = "$start([^/\\x00-\\x1f\\x7f]+)" . join "(?:\\1)", @others;
    $above = "/" if $above eq "";
    opendir(my $listing, $above) or $! == ENOENT
        ? die { missing => "there is no directory $above" }
        : fail($above);
    my @candidates;
    for my $entry (sort readdir $listing) {
        next unless $entry =~ /\A$pattern\z/s;
        my $release = $1;
        my $is_link = -l "$above/$entry" ? 1 : 0;
        next if $start eq "" && $entry =~ /\A\./ || $is_link && defined $below;
        next unless -d "$above/$entry";
        push @candidates, [$release, $is_link];
    }
    return @candidates;
}

sub counted {
    my $root = shift;
    my ($items, $size, $oldest, $newest) = (0, 0);
    my $done = eval {
        picked($root->{top}, {}, sub {
            my $state = $_[2];
            ++$items;
            $size += $state->[7];
            $oldest = $state->[9] if !defined $oldest || $state->[9] < $oldest;
            $newest = $state->[9] if !defined $newest || $state->[9] > $newest;
        });
        1;
    };
    die $@ unless $done || ref $@ && $@->{late};
    return { items => undef, size => undef, ages => [] } unless $done;
    my @ages = map { time() - $_ } grep { defined } $oldest, $newest;
    return { items => $items, size => $size, ages => \@ages };
}
