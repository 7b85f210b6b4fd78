# One job, one line of JSON as the answer.
my %ACTIONS = (clear => \&clear, survey => \&survey, status => \&status, prime => \&prime,
    releases => \&releases);

# What is made here gets its mode from what it stands for.
umask 022;
my $answer = eval { $ACTIONS{ $JOB{action} }->() };
$answer = ref $@ ? $@ : { error => "$@" } unless $answer;
print json($answer), "\n";
