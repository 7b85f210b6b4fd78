# Which directories are taken for a cache: the policy, the marker, and who is at work on one.
my $MARKER = ".cachekit";
my $SIBLING = qr/\.cachekit-([a-z]+)-\d{16}-[0-9a-f]{6}/;

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

# Read where file systems are mounted; bind mounts are seen by nothing else.
sub mounts {
    open(my $file, "<", "/proc/self/mountinfo") or return;
    return map { my $point = (split / /)[4]; $point =~ s/\\([0-7]{3})/chr oct $1/ge; $point } <$file>;
}

sub check_path {
    my $full = shift;
    my $reason = system_reason($full);
    refuse("$full $reason") if $reason;
    # In containers, programs may run as a number that is nobody.
    my $home = (getpwuid $>)[7] || "";
    refuse("$full is a home directory") if index("$home/", "$full/") == 0;
    for my $mount (grep { index("$_/", "$full/") == 0 } mounts()) {
        refuse("$mount is a mount; name a directory below it as the cache") if $mount eq $full;
        refuse("$mount is a mount inside the cache; unmount it, or move the cache");
    }
}

# Enter the directory that the root is in; give it open, the root's name there and its real path.
sub enter_parent {
    my ($above, $name) = $JOB{path} =~ m{\A(.*)/([^/]+)\z}s;
    sysopen(my $parent, $above eq "" ? "/" : $above, O_RDONLY)
        or die { missing => "there is no directory $above" };
    chdir $parent or fail($above);
    my $full = POSIX::getcwd() . "/$name";
    check_path($full);
    return ($parent, $name, $full);
}

# Open the root, once it is sure to be a cache: its parent, name, directory, and link of ours.
sub open_root {
    my ($parent, $name, $full) = enter_parent();
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

# Make the directory of a cache, with its marker.
sub make_root {
    my ($parent, $name, $full) = enter_parent();
    my ($uid, $gid) = (-1, -1);
    if (defined(my $owner = $JOB{owner})) {
        ($uid, $gid) = ($owner =~ /\A\d+\z/ ? getpwuid $owner : getpwnam $owner)[2, 3];
        refuse("owner: no user is called $owner there") unless defined $uid;
    }
    mkdir $name, 0755 or fail($full);
    my $top = open_directory($name) or fail($full);
    chdir $top or fail($full);
    sysopen(my $marker, $MARKER, O_WRONLY | O_CREAT | O_EXCL, 0600) or fail($full);
    chown $uid, $gid, "." or fail($full);
}

# Read a link that an earlier run has put in place of the root; no other is followed.
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

# Refuse a directory that nobody has declared to be a cache.
sub check_mark {
    my $root = shift;
    refuse("$root->{full} holds no file .cachekit, so it may be no cache; make that file there, or "
            . "set `adopt: true`")
        unless $JOB{adopt} || is_marked($root);
}

# Lock an open directory until it is closed. NFS locks none: there one node does it.
sub lock_directory { return flock($_[0], LOCK_EX | LOCK_NB) || $! != EWOULDBLOCK }

# Open the root once no other run is at work on it.
sub locked_root {
    while (1) {
        my $root = open_root();
        return $root if lock_directory($root->{top}) && is_in_place($root, $root->{top});
        die { late => "another run is at work on $JOB{path}" } if now() >= $END;
        select undef, undef, undef, 0.01;
    }
}

# Tell whether the path leads to this open directory now.
sub is_in_place {
    my ($root, $directory) = @_;
    chdir $root->{parent} or fail($root->{full});
    my @now = stat $root->{name} or return 0;
    my @wanted = stat $directory;
    return $now[0] == $wanted[0] && $now[1] == $wanted[1];
}

my $made = 0;

# Make up the name of a directory beside the root; later ones sort after earlier ones.
sub sibling {
    my ($root, $kind) = @_;
    my $token = sprintf "%d%06d-%02x%04x", time, ++$made, $$ & 0xff, ($$ >> 8) & 0xffff;
    return ".$root->{name}.cachekit-$kind-$token";
}

# Find what runs have put beside the root and is not in its place now, the oldest first.
sub siblings {
    my ($root, $wanted) = @_;
    chdir $root->{parent} or fail($root->{full});
    opendir(my $listing, ".") or fail($root->{full});
    my $live = own_link($root->{name});
    return grep { /\A\.\Q$root->{name}\E$SIBLING\z/s && $_ ne $live && $wanted->($1) }
        sort readdir $listing;
}

sub kept { return siblings($_[0], sub { $_[0] eq "kept" }) }
