# Run in an empty folder with the installed wheel on the PATH: does the package work without its tree?
set -euo pipefail
test -z "$(ls -A | grep -v venv)"
python -W error -c "import conductor_jobs, pathlib; assert (pathlib.Path(conductor_jobs.__file__).parent / 'py.typed').is_file()"
cat > jobs.py <<'PYTHON'
from conductor_jobs import TimedJobs

jobs = TimedJobs()

@jobs.runner("hello")
def hello(ctx):
    ctx.log("hello", details={"term": ctx.term})
PYTHON
conductor-jobs start jobs.py:jobs --run-once | grep -q '"stage":"hello"'
conductor-jobs verify .conductor/logs/timed-jobs | grep -q "No violation"
python - <<'PYTHON'
from conductor_jobs import read_journal

stages = [entry.stage for entry in read_journal(".conductor/logs/timed-jobs")]
assert stages[0] == "started" and stages[-1] == "stopped", stages
print("the wheel works")
PYTHON

# Without extras a store that needs one says which.
for extra in postgres redis etcd web; do
    case $extra in web) url=http://control.example ;; *) url=$extra://db.example ;; esac
    said=$(conductor-jobs config --store "$url" 2>&1 || true)
    grep -qF "pip install 'conductor-jobs[$extra]'" <<< "$said"
done
