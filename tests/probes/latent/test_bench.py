from tests.bench.probes import compare, main


def test_bench_runs_and_reaches_the_optimum(capsys):
    found = compare(400, 12, 2, runs=2)
    assert found["gap_over_scikit_learn"] < 1e-6
    assert found["ratio"] > 0
    main(["--tiny", "--only", "one"])
    assert "1 label" in capsys.readouterr().out
