import time
def test_a() -> None:
    time.sleep(32)
