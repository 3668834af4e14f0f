import urllib.request

from avrec.distributed.meters import Meters


def test_what_is_counted_can_be_scraped_from_the_node(local_ray, wait_until):
    node = local_ray.nodes()[0]
    meters = Meters()
    meters.add({"a stage": {"files": 3, "seconds": 1.5, "frames": 9}}, {"a kind": 2})
    meters.add({"a stage": {"files": 1}}, {})

    def scraped(name, label):
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.urlopen(url) as answer:
            lines = answer.read().decode().splitlines()
        named = [line for line in lines if line.startswith(f"ray_avrec_{name}") and label in line]
        return [float(line.split()[-1]) for line in named]

    wait_until(lambda: scraped("files", 'stage="a stage"') == [4.0])
    assert scraped("busy_seconds", 'stage="a stage"') == [1.5]
    assert scraped("errors", 'kind="a kind"') == [2.0]
