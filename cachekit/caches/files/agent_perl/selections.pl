# Which files of a cache are meant: by path, age, or the key that nginx wrote into them.

# The header before the KEY line has some 340 bytes; the key is as long as the longest URL.
my $KEY_WITHIN = 65536;

# Call back, in its directory, for each file that is meant, with its name, label and state; the
# label is its key for nginx, else its path.
sub picked {
    my ($top, $job, $visit) = @_;
    my $wanted = matcher($job);
    my $before = defined $job->{older_than} ? time() - $job->{older_than} : undef;
    walk($top, sub {
        my ($directory, $files) = @_;
        for my $name (@$files) {
            my $path = below($directory, $name);
            next if $path eq $MARKER;
            my $label = $job->{by_key} ? key_of($name) : $path;
            next unless defined $label && $wanted->($label);
            my @state = lstat $name or next;
            $visit->($name, $label, \@state) if !defined $before || $state[9] < $before;
        }
    });
}

sub matcher {
    my $job = shift;
    my @whole = map { my $each = text($_); qr/\A(?:$each)\z/su } @{ $job->{match} || [] };
    my @part = map { my $each = text($_); qr/$each/u } @{ $job->{search} || [] };
    return sub { 1 } unless @whole || @part;
    # What is searched is the part of a label that is called `uri` here.
    my $within = text(defined $job->{within} ? $job->{within} : "");
    return sub {
        my $text = text(shift);
        return 1 if grep { $text =~ $_ } @whole;
        return 0 unless @part && $text =~ /\A(?:$within)\z/su;
        my $uri = $+{uri};
        return scalar grep { $uri =~ $_ } @part;
    };
}

# Read the key of an entry; undef for what is none, such as one being written.
sub key_of {
    my $name = shift;
    return undef unless $name =~ /\A[0-9a-f]{32}\z/;
    sysopen(my $file, $name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) or return undef;
    return undef unless -f $file;
    for my $length (4096, $KEY_WITHIN) {
        sysseek $file, 0, 0;
        sysread($file, my $head, $length);
        return $1 if $head =~ /\nKEY: ([^\n]*)\n/;
    }
    return undef;
}
